"""S3: buckets, objects, versions, parts, tags."""

from .core import NOTHING, NOW, TEXT, TRUE, Has, Table, at_least, content, matching

step = Table("s3")
BUCKET, OBJECT = {"Bucket": "${n}-bucket"}, {"Bucket": "${n}-bucket", "Key": "a dir/ä+b.txt"}
TAGS = {"TagSet": [{"Key": "team", "Value": "a b"}]}
ETAG = '"5d41402abc4b2a76b9719d911017c592"'

step("CreateBucket", BUCKET)
step("HeadBucket", BUCKET)
step("HeadBucket", {"Bucket": "${n}-absent"}, refused="404")
step("ListBuckets", want={"Buckets[].Name": Has("${n}-bucket"), "Buckets[0].CreationDate": NOW, "Owner.ID": TEXT})
step("GetBucketLocation", BUCKET, want={"LocationConstraint": NOTHING})
step("PutBucketTagging", BUCKET | {"Tagging": TAGS})
step("GetBucketTagging", BUCKET, want=TAGS)
step("DeleteBucketTagging", BUCKET)
step("GetBucketTagging", BUCKET, refused="NoSuchTagSet")
step("GetBucketVersioning", BUCKET, want={"Status": NOTHING})
step("PutBucketVersioning", BUCKET | {"VersioningConfiguration": {"Status": "Enabled"}})
step("GetBucketVersioning", BUCKET, want={"Status": "Enabled"})
step("PutObject", OBJECT | {"Body": b"hello", "ContentType": "text/x-test", "Metadata": {"who": "me"}, "Tagging": "team=a%20b"},
     save={"first": "VersionId"}, want={"ETag": ETAG, "VersionId": TEXT})
step("HeadObject", OBJECT, want={"ContentLength": 5, "ContentType": "text/x-test", "Metadata": {"who": "me"}, "ETag": ETAG,
                                 "LastModified": NOW, "VersionId": "${first}"})
step("GetObject", OBJECT, want={"Body": content("hello"), "ContentLength": 5, "Metadata": {"who": "me"}, "ETag": ETAG,
                                "LastModified": NOW})
step("GetObject", OBJECT | {"Range": "bytes=1-2"}, want={"Body": content("el"), "ContentRange": "bytes 1-2/5"})
step("GetObject", OBJECT | {"Key": "absent"}, refused="NoSuchKey")
step("GetObjectTagging", OBJECT, want=TAGS | {"VersionId": "${first}"})
step("PutObject", {"Bucket": "${n}-bucket", "Key": "plain", "Body": b"hello"}, save={"plain": "VersionId"})
step("CopyObject", {"Bucket": "${n}-bucket", "Key": "copy", "CopySource": "${n}-bucket/plain"}, want={
    "CopyObjectResult.ETag": ETAG, "CopyObjectResult.LastModified": NOW, "CopySourceVersionId": "${plain}"})
step("ListObjectsV2", BUCKET | {"MaxKeys": 100}, want={
    "Contents[].Key": ["a dir/ä+b.txt", "copy", "plain"], "Contents[0].Size": 5, "Contents[0].ETag": ETAG,
    "Contents[0].LastModified": NOW, "Contents[0].StorageClass": "STANDARD"})
step("ListObjectsV2", BUCKET | {"Delimiter": "/", "MaxKeys": 100}, want={
    "Contents[].Key": ["copy", "plain"], "CommonPrefixes[].Prefix": ["a dir/"]})
step("ListObjects", BUCKET | {"Prefix": "a dir/", "MaxKeys": 100}, want={"Contents[].Key": ["a dir/ä+b.txt"]})
step("DeleteObject", OBJECT, save={"marker": "VersionId"}, want={"DeleteMarker": TRUE, "VersionId": TEXT})
step("ListObjectVersions", BUCKET | {"MaxKeys": 100}, want={
    "Versions[?Key=='a dir/ä+b.txt'] | [0].VersionId": "${first}", "DeleteMarkers[].VersionId": ["${marker}"],
    "DeleteMarkers[0].IsLatest": TRUE, "Versions[0].LastModified": NOW})
step("DeleteObjects", BUCKET | {"Delete": {"Objects": [
    {"Key": "a dir/ä+b.txt", "VersionId": "${marker}"}, {"Key": "copy"}]}}, want={"Deleted[].Key | sort(@)": ["a dir/ä+b.txt", "copy"]})
PART = {"Bucket": "${n}-bucket", "Key": "big", "UploadId": "${upload}"}
step("CreateMultipartUpload", {"Bucket": "${n}-bucket", "Key": "big"}, save={"upload": "UploadId"}, want={
    "Bucket": "${n}-bucket", "Key": "big", "UploadId": TEXT})
step("ListMultipartUploads", BUCKET, want={"Uploads[].UploadId": ["${upload}"], "Uploads[0].Initiated": NOW})
step("UploadPart", PART | {"PartNumber": 1, "Body": b"hello"}, save={"one": "ETag"}, want={"ETag": ETAG})
step("UploadPartCopy", PART | {"PartNumber": 2, "CopySource": "${n}-bucket/plain"}, want={
    "CopyPartResult.ETag": ETAG, "CopyPartResult.LastModified": NOW})
step("ListParts", PART, want={"Parts[].PartNumber": [1, 2], "Parts[0].Size": 5, "Parts[0].LastModified": NOW})
step("UploadPart", PART | {"PartNumber": 1, "Body": b"hello"}, save={"one": "ETag"})
step("CompleteMultipartUpload", PART | {"MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": "${one}"}]}}, want={
    "Key": "big", "ETag": matching('"[0-9a-f]{32}-1"'), "Bucket": "${n}-bucket", "Location": TEXT})
step("HeadObject", {"Bucket": "${n}-bucket", "Key": "big"}, want={"ContentLength": at_least(5)}, save={"big": "VersionId"})
step("CreateMultipartUpload", {"Bucket": "${n}-bucket", "Key": "big"}, save={"upload": "UploadId"})
step("AbortMultipartUpload", PART)
step("ListMultipartUploads", BUCKET, want={"Uploads": NOTHING})
step("DeleteBucket", BUCKET, refused="BucketNotEmpty")
step("ListObjectVersions", BUCKET | {"Prefix": "copy", "MaxKeys": 100}, save={
    "copy": "Versions[0].VersionId", "copy_marker": "DeleteMarkers[0].VersionId"})
step("DeleteObjects", BUCKET | {"Delete": {"Objects": [
    {"Key": "a dir/ä+b.txt", "VersionId": "${first}"}, {"Key": "big", "VersionId": "${big}"}, {"Key": "plain", "VersionId": "${plain}"},
    {"Key": "copy", "VersionId": "${copy}"}, {"Key": "copy", "VersionId": "${copy_marker}"}]}}, want={"Errors": NOTHING})
step("ListObjectVersions", BUCKET | {"MaxKeys": 100}, want={"Versions": NOTHING, "DeleteMarkers": NOTHING})
step("DeleteBucket", BUCKET)
step("HeadBucket", BUCKET, refused="404")
