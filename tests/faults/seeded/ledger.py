"""What was acknowledged: small writes go on all the while, and every one that was told yes is looked for afterwards."""

import threading
import time

from botocore.exceptions import BotoCoreError, ClientError

# What a repeated request is told when the first one was carried out and its answer got lost.
ALREADY = {"EntityAlreadyExists", "ResourceAlreadyExistsException", "BucketAlreadyOwnedByYou",
           "ApprovalAlreadyCompletedException", "InvalidApprovalTokenException", "RepositoryNameExistsException"}
PAUSE_S = 0.15


class Hopeless(Exception):
    """A call that no repetition helps."""


def insist(call, deadline, already=()):
    """Repeats a call as a patient client does, until it is answered with success.

    Answers None when a repetition was told that it is done already.
    """
    again = False
    while True:
        try:
            return call()
        except ClientError as error:
            code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
            # The client repeated it by itself, or the network doubled it.
            if code in already:
                return None
            # A clock that is being set refuses signatures: 400 or 403 then, by service.
            passing = status >= 500 or status == 429 or "Skew" in code or "Expired" in code or "Signature" in code
            if not passing and not again:
                raise Hopeless(f"{status} {code}: {error}") from error
            failure = error
        except BotoCoreError as error:
            failure = error
        if time.monotonic() > deadline():
            raise Hopeless(f"never answered with success: {failure}") from failure
        again = True
        time.sleep(PAUSE_S)


class Ledger:
    """Writers on threads of their own, each with its list of acknowledged writes."""

    def __init__(self, account):
        self.account = account
        self.name = f"{account.name}-ledger"
        self.done = {"object": [], "event": [], "user": [], "file": []}
        self.stop = threading.Event()
        self.failures = []
        self.threads = []

    def prepare(self):
        self.account.s3.create_bucket(Bucket=self.name)
        self.account.logs.create_log_group(logGroupName=self.name)
        self.account.logs.create_log_stream(logGroupName=self.name, logStreamName="s")
        self.account.codecommit.create_repository(repositoryName=self.name)

    def put_object(self, number):
        self.account.s3.put_object(Bucket=self.name, Key=f"k{number}", Body=body(number))

    def put_event(self, number):
        return self.account.logs.put_log_events(logGroupName=self.name, logStreamName="s", logEvents=[
            {"timestamp": int(time.time() * 1000), "message": f"m{number}"}])

    def create_user(self, number):
        self.account.iam.create_user(UserName=f"{self.name}-{number}")

    def put_file(self, number):
        commits, head = self.account.codecommit, {}
        try:
            tip = commits.get_branch(repositoryName=self.name, branchName="main")["branch"]["commitId"]
            head = {"parentCommitId": tip}
        except commits.exceptions.BranchDoesNotExistException:
            pass
        commits.put_file(repositoryName=self.name, branchName="main", filePath=f"f{number}",
                         fileContent=body(number), **head)

    def start(self):
        writers = {"object": self.put_object, "event": self.put_event, "user": self.create_user,
                   "file": self.put_file}
        for kind, write in writers.items():
            thread = threading.Thread(target=self.keep_writing, args=(kind, write), daemon=True)
            self.threads.append(thread)
            thread.start()

    def keep_writing(self, kind, write):
        """One try per number: what was not acknowledged may or may not be there, and is not asked for."""
        for number in range(10_000):
            try:
                told = write(number)
                # An event from before the clock was set may be too old or too new: the answer says so.
                if not (told or {}).get("rejectedLogEventsInfo"):
                    self.done[kind].append(number)
            except (BotoCoreError, ClientError) as error:
                self.failures.append((kind, number, str(error)))
            if self.stop.wait(PAUSE_S):
                return

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(timeout=90)
            assert not thread.is_alive(), "a writer never got an answer"

    def check(self, account):
        """Everything that was acknowledged is there, as it was written. By a client that is told the truth."""
        lost = []
        for number in self.done["object"]:
            got = account.s3.get_object(Bucket=self.name, Key=f"k{number}")["Body"].read()
            lost += [] if got == body(number) else [f"object {number}: {got[:40]}"]
        events = set()
        for page in account.logs.get_paginator("filter_log_events").paginate(logGroupName=self.name):
            events |= {event["message"] for event in page["events"]}
        lost += [f"log event {number}" for number in self.done["event"] if f"m{number}" not in events]
        users = {user["UserName"] for page in account.iam.get_paginator("list_users").paginate()
                 for user in page["Users"]}
        lost += [f"user {number}" for number in self.done["user"] if f"{self.name}-{number}" not in users]
        if self.done["file"]:
            tip = account.codecommit.get_branch(repositoryName=self.name, branchName="main")["branch"]["commitId"]
            folder = account.codecommit.get_folder(repositoryName=self.name, commitSpecifier=tip, folderPath="/")
            files = {found["absolutePath"] for found in folder["files"]}
            lost += [f"file {number}" for number in self.done["file"] if f"f{number}" not in files]
        return lost

    def count(self):
        return sum(map(len, self.done.values()))


def body(number):
    return f"content {number} ".encode() * 300
