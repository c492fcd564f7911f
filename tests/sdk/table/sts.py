"""STS: who am I, and who may I be."""

import json

from .core import NOW, TEXT, Table, matching
from .roles import allow

step = Table("sts")
TRUST = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "sts:AssumeRole"}]})
CREDENTIALS = {"Credentials.AccessKeyId": matching("ASIA[A-Z0-9]{16}"), "Credentials.SecretAccessKey": TEXT,
               "Credentials.SessionToken": TEXT, "Credentials.Expiration": NOW}

step("GetCallerIdentity", want={"Account": "000000000000", "Arn": "arn:aws:iam::000000000000:root", "UserId": TEXT})
step("GetSessionToken", {"DurationSeconds": 900}, want=CREDENTIALS)
step("CreateUser", {"UserName": "${n}-user"}, by="iam")
step("PutUserPolicy", {"UserName": "${n}-user", "PolicyName": "p", "PolicyDocument": allow("sts:AssumeRole")}, by="iam")
step("CreateAccessKey", {"UserName": "${n}-user"}, by="iam", setup=True, save={
    "user_key": "AccessKey.AccessKeyId", "user_secret": "AccessKey.SecretAccessKey"})
step("GetAccessKeyInfo", {"AccessKeyId": "${user_key}"}, want={"Account": "000000000000"})
step("GetCallerIdentity", as_user=True, want={"Arn": "arn:aws:iam::000000000000:user/${n}-user", "UserId": matching("AIDA[A-Z0-9]+")})
step("CreateRole", {"RoleName": "${n}-session", "AssumeRolePolicyDocument": TRUST}, by="iam", save={"role": "Role.Arn"},
     want={"Role.CreateDate": NOW})
step("AssumeRole", {"RoleArn": "${role}", "RoleSessionName": "a-session", "DurationSeconds": 900}, as_user=True, want=CREDENTIALS | {
    "AssumedRoleUser.Arn": "arn:aws:sts::000000000000:assumed-role/${n}-session/a-session",
    "AssumedRoleUser.AssumedRoleId": matching("AROA[A-Z0-9]+:a-session")})
step("AssumeRole", {"RoleArn": "${role}-absent", "RoleSessionName": "a-session"}, as_user=True, refused="AccessDenied")
step("DeleteAccessKey", {"UserName": "${n}-user", "AccessKeyId": "${user_key}"}, by="iam")
step("DeleteUserPolicy", {"UserName": "${n}-user", "PolicyName": "p"}, by="iam")
step("DeleteUser", {"UserName": "${n}-user"}, by="iam")
step("DeleteRole", {"RoleName": "${n}-session"}, by="iam")
