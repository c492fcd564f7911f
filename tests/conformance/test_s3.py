"""S3 through unmodified clients."""

import hashlib
import threading
import urllib.request

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError


@pytest.fixture
def bucket(account):
    return account.bucket()


def test_an_object_comes_back_as_it_went_in(account, bucket):
    content = bytes(range(256)) * 4096
    put = account.s3.put_object(Bucket=bucket, Key="a/b c+d/ä.bin", Body=content, ContentType="x/y",
                                Metadata={"who": "me"})
    assert put["ETag"] == f'"{hashlib.md5(content).hexdigest()}"'
    got = account.s3.get_object(Bucket=bucket, Key="a/b c+d/ä.bin", ChecksumMode="ENABLED")
    assert got["Body"].read() == content
    assert got["ContentType"] == "x/y" and got["Metadata"] == {"who": "me"}
    part = account.s3.get_object(Bucket=bucket, Key="a/b c+d/ä.bin", Range="bytes=10-19")
    assert part["Body"].read() == content[10:20]
    assert part["ContentRange"] == f"bytes 10-19/{len(content)}"


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"])
def test_checksums_are_computed_and_a_wrong_one_is_refused(account, bucket, algorithm):
    if algorithm in ("CRC32C", "CRC64NVME"):
        pytest.importorskip("awscrt")
    put = account.s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumAlgorithm=algorithm)
    assert put[f"Checksum{algorithm}"]
    with pytest.raises(ClientError) as refused:
        account.s3.put_object(Bucket=bucket, Key="wrong", Body=b"hello", ChecksumSHA256="A" * 43 + "=")
    assert refused.value.response["Error"]["Code"] == "BadDigest"
    assert account.s3.list_objects_v2(Bucket=bucket, Prefix="wrong")["KeyCount"] == 0


def test_listing_pages_groups_and_encodes(account, bucket):
    names = ["a b/1", "a+b/2", "top", "z/1", "z/2"]
    for name in names:
        account.s3.put_object(Bucket=bucket, Key=name, Body=b"x")
    pages = account.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
    assert [found["Key"] for page in pages for found in page["Contents"]] == names
    grouped = account.s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [prefix["Prefix"] for prefix in grouped["CommonPrefixes"]] == ["a b/", "a+b/", "z/"]
    assert [found["Key"] for found in grouped["Contents"]] == ["top"]
    pages = account.s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 1})
    found = [p["Prefix"] for page in pages for p in page.get("CommonPrefixes", [])]
    assert found == ["a b/", "a+b/", "z/"]


@pytest.mark.parametrize("prefix", ["", "a", "a/", "b/a/"])
@pytest.mark.parametrize("delimiter", ["", "/", "b"])
def test_every_page_size_lists_the_same(account, bucket, prefix, delimiter):
    words = ["a", "b", "ab", "0"]
    keys = sorted({one for x in words for y in words for one in (x, f"{x}/{y}", f"{x}/{y}/{x}", f"{x}/{y}/{y}z")})
    for name in keys:
        account.s3.put_object(Bucket=bucket, Key=name, Body=b"")
    below = [name.removeprefix(prefix) for name in keys if name.startswith(prefix)]
    wanted = {prefix + (name.split(delimiter)[0] + delimiter if delimiter and delimiter in name else name)
              for name in below}
    for size in (1, 2, 7, 1000):
        pages = account.s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix, Delimiter=delimiter, PaginationConfig={"PageSize": size})
        found = [name for page in pages for name in [
            *(entry["Key"] for entry in page.get("Contents", [])),
            *(group["Prefix"] for group in page.get("CommonPrefixes", []))]]
        assert len(found) == len(wanted) and set(found) == wanted, size


def test_versions_are_kept_and_a_marker_hides_them(account, bucket):
    account.s3.put_object(Bucket=bucket, Key="k", Body=b"before")
    account.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = account.s3.put_object(Bucket=bucket, Key="k", Body=b"one")["VersionId"]
    second = account.s3.put_object(Bucket=bucket, Key="k", Body=b"two")["VersionId"]
    assert account.s3.get_object(Bucket=bucket, Key="k", VersionId=first)["Body"].read() == b"one"
    assert account.s3.get_object(Bucket=bucket, Key="k", VersionId="null")["Body"].read() == b"before"
    marker = account.s3.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"] is True
    with pytest.raises(ClientError) as gone:
        account.s3.get_object(Bucket=bucket, Key="k")
    assert gone.value.response["Error"]["Code"] == "NoSuchKey"
    listed = account.s3.list_object_versions(Bucket=bucket)
    assert [v["VersionId"] for v in listed["Versions"]] == [second, first, "null"]
    assert [m["VersionId"] for m in listed["DeleteMarkers"]] == [marker["VersionId"]]
    account.s3.delete_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert account.s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"two"
    account.s3.delete_object(Bucket=bucket, Key="k", VersionId=second)
    assert account.s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"one"


def test_multipart_makes_one_object(account, bucket):
    upload = account.s3.create_multipart_upload(Bucket=bucket, Key="big", ContentType="a/b")["UploadId"]
    pieces = [b"a" * (5 << 20), b"b" * (5 << 20), b"tail"]
    parts = [{"PartNumber": n, "ETag": account.s3.upload_part(
        Bucket=bucket, Key="big", UploadId=upload, PartNumber=n, Body=piece)["ETag"]}
        for n, piece in enumerate(pieces, 1)]
    assert len(account.s3.list_parts(Bucket=bucket, Key="big", UploadId=upload)["Parts"]) == 3
    done = account.s3.complete_multipart_upload(Bucket=bucket, Key="big", UploadId=upload,
                                                MultipartUpload={"Parts": parts})
    assert done["ETag"].endswith('-3"')
    got = account.s3.get_object(Bucket=bucket, Key="big")
    assert got["Body"].read() == b"".join(pieces) and got["ContentType"] == "a/b"
    assert "Uploads" not in account.s3.list_multipart_uploads(Bucket=bucket)
    edge = account.s3.get_object(Bucket=bucket, Key="big", Range=f"bytes={(5 << 20) - 2}-{(5 << 20) + 1}")
    assert edge["Body"].read() == b"aabb"


def test_multipart_refuses_what_does_not_fit(account, bucket):
    upload = account.s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    etag = account.s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"small")["ETag"]
    for parts, code in [
        ([{"PartNumber": 2, "ETag": etag}], "InvalidPart"),
        ([{"PartNumber": 1, "ETag": '"0"'}], "InvalidPart"),
    ]:
        with pytest.raises(ClientError) as refused:
            account.s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload,
                                                 MultipartUpload={"Parts": parts})
        assert refused.value.response["Error"]["Code"] == code
    account.s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
    with pytest.raises(ClientError) as gone:
        account.s3.list_parts(Bucket=bucket, Key="k", UploadId=upload)
    assert gone.value.response["Error"]["Code"] == "NoSuchUpload"


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_presigned_urls(account, bucket, version):
    account.s3.put_object(Bucket=bucket, Key="k", Body=b"presigned")
    client = account.server.client("s3", signature_version=version)
    url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"}, ExpiresIn=60)
    assert urllib.request.urlopen(url).read() == b"presigned"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url.replace("/k?", "/other?"))
    assert refused.value.code == 403


def test_an_object_is_written_once_where_that_is_asked(account, bucket):
    account.s3.put_object(Bucket=bucket, Key="once", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError) as refused:
        account.s3.put_object(Bucket=bucket, Key="once", Body=b"2", IfNoneMatch="*")
    assert refused.value.response["Error"]["Code"] == "PreconditionFailed"
    assert account.s3.get_object(Bucket=bucket, Key="once")["Body"].read() == b"1"


def test_copies_share_content_and_outlive_their_source(account, bucket):
    account.s3.put_object(Bucket=bucket, Key="from", Body=b"copied", Metadata={"a": "b"})
    account.s3.copy_object(Bucket=bucket, Key="to", CopySource={"Bucket": bucket, "Key": "from"})
    account.s3.delete_object(Bucket=bucket, Key="from")
    got = account.s3.get_object(Bucket=bucket, Key="to")
    assert got["Body"].read() == b"copied" and got["Metadata"] == {"a": "b"}


# Content of up to 16 KiB is kept elsewhere than larger content.
@pytest.mark.parametrize("size", [0, 1, 16 << 10, (16 << 10) + 1])
def test_content_of_every_size_is_read_copied_replaced_and_deleted(account, bucket, size):
    s3, key, body = account.s3, f"size-{size}", bytes(n % 251 for n in range(size))
    read = lambda **more: s3.get_object(**({"Bucket": bucket, "Key": key} | more))["Body"].read()
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=bucket, Key=key, Body=body)
    assert first["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == size
    assert read() == body
    if size:
        assert read(Range=f"bytes={size // 2}-") == body[size // 2:]
        assert read(Range="bytes=0-0") == body[:1]
        assert read(Range="bytes=-1") == body[-1:]
    source = {"Bucket": bucket, "Key": key}
    s3.copy_object(Bucket=bucket, Key=key + "-copy", CopySource=source)
    second = s3.copy_object(Bucket=bucket, Key=key, CopySource=source, Metadata={"again": "yes"}, MetadataDirective="REPLACE")
    s3.delete_object(Bucket=bucket, Key=key, VersionId=first["VersionId"])
    assert (read(), read(Key=key + "-copy"), read(VersionId=second["VersionId"])) == (body, body, body)
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key + "-parts")["UploadId"]
    where = {"Bucket": bucket, "Key": key + "-parts", "UploadId": upload}
    part = s3.upload_part_copy(**where, PartNumber=1, CopySource=source)["CopyPartResult"]["ETag"]
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [{"ETag": part, "PartNumber": 1}]})
    s3.delete_object(Bucket=bucket, Key=key, VersionId=second["VersionId"])
    assert (read(Key=key + "-parts"), read(Key=key + "-copy")) == (body, body)
    with pytest.raises(ClientError, match="NoSuchKey"):
        read()


def test_a_reader_of_what_is_being_replaced_gets_one_or_the_other(account, bucket):
    s3, stop = account.s3, threading.Event()
    bodies = {bytes([letter]) * 1000 for letter in b"ab"}

    def write():
        while not stop.is_set():
            [s3.put_object(Bucket=bucket, Key="k", Body=body) for body in bodies]

    s3.put_object(Bucket=bucket, Key="k", Body=next(iter(bodies)))
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(100):
            assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() in bodies
    finally:
        stop.set()
        writer.join()


def test_denied_and_unknown_callers_get_nothing(account, bucket):
    account.s3.put_object(Bucket=bucket, Key="k", Body=b"secret")
    nobody = account.server.client("s3", keys=account.user())
    reader = account.server.client("s3", keys=account.user("s3:GetObject", resource=f"arn:aws:s3:::{bucket}/*"))
    assert reader.get_object(Bucket=bucket, Key="k")["Body"].read() == b"secret"
    for client, call, code in [
        (nobody, lambda c: c.get_object(Bucket=bucket, Key="k"), "AccessDenied"),
        (nobody, lambda c: c.list_objects_v2(Bucket=bucket), "AccessDenied"),
        (nobody, lambda c: c.put_object(Bucket=bucket, Key="new", Body=b"x"), "AccessDenied"),
        (reader, lambda c: c.delete_object(Bucket=bucket, Key="k"), "AccessDenied"),
        (reader, lambda c: c.copy_object(Bucket=bucket, Key="new", CopySource=f"{bucket}/k"), "AccessDenied"),
        (account.server.client("s3", keys=("AKIAUNKNOWN", "x")), lambda c: c.list_buckets(), "InvalidAccessKeyId"),
        (account.server.client("s3", keys=(account.server.root_keys()[0], "x")), lambda c: c.list_buckets(),
         "SignatureDoesNotMatch"),
    ]:
        with pytest.raises(ClientError) as refused:
            call(client)
        assert refused.value.response["Error"]["Code"] == code
    refused = reader.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}]})["Errors"]
    assert [error["Code"] for error in refused] == ["AccessDenied"]
    assert [found["Key"] for found in account.s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]


def test_nobody_comes_in_unsigned(account, bucket):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{account.server.url}/{bucket}/k")
    assert refused.value.code == 403


def test_what_is_not_honoured_is_refused_by_name(account, bucket):
    for options in [{"ServerSideEncryption": "aws:kms"}, {"StorageClass": "GLACIER"}, {"ACL": "public-read"}]:
        with pytest.raises(ClientError) as refused:
            account.s3.put_object(Bucket=bucket, Key="k", Body=b"x", **options)
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    with pytest.raises(ClientError) as refused:
        account.s3.put_bucket_policy(Bucket=bucket, Policy="{}")
    assert "PutBucketPolicy" in refused.value.response["Error"]["Message"]


def test_virtual_hosts_address_buckets(account, bucket):
    """The name need not resolve here: the request goes to the server's address with the host that was signed."""
    account.s3.put_object(Bucket=bucket, Key="k", Body=b"virtual")
    session = boto3.Session(*account.server.root_keys(), region_name="us-east-1")
    client = session.client("s3", endpoint_url=f"http://localhost:{account.server.port}",
                            config=Config(s3={"addressing_style": "virtual"}, signature_version="s3v4"))
    url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    host = f"{bucket}.localhost:{account.server.port}"
    assert f"//{host}/k?" in url
    request = urllib.request.Request(url.replace(host, f"127.0.0.1:{account.server.port}"), headers={"Host": host})
    assert urllib.request.urlopen(request).read() == b"virtual"


def test_the_cli_copies_and_syncs(account, bucket, tmp_path):
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/a.txt").write_text("a")
    (tmp_path / "tree/sub/b.txt").write_text("b")
    big = tmp_path / "big"
    big.write_bytes(b"z" * (20 << 20))
    server = account.server
    server.aws("s3", "sync", tmp_path / "tree", f"s3://{bucket}/tree", check=False)
    server.aws("s3", "cp", big, f"s3://{bucket}/big", check=False)
    server.aws("s3", "cp", f"s3://{bucket}/big", tmp_path / "back", check=False)
    assert (tmp_path / "back").read_bytes() == big.read_bytes()
    keys = {found["Key"] for found in account.s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert keys == {"tree/a.txt", "tree/sub/b.txt", "big"}
