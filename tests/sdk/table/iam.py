"""IAM: people, groups, roles, policies, credentials."""

import json
from urllib.parse import unquote

from .core import FALSE, NOTHING, NOW, TEXT, TRUE, Has, Table, Want, at_least, length, matching

step = Table("iam")
DOCUMENT = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}]})
OTHER = DOCUMENT.replace("ListBucket", "GetObject")
TRUST = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "codebuild.amazonaws.com"}, "Action": "sts:AssumeRole"}]})
OTHER_TRUST = TRUST.replace("codebuild", "codedeploy")
ACCOUNT = "arn:aws:iam::000000000000"
TAG = {"Key": "team", "Value": "a b+c/ä"}
# Clients show a policy as its text, or already decoded.
POLICY_TEXT = Want("<the policy>", lambda value: (json.loads(unquote(value)) if isinstance(value, str) else value) == json.loads(DOCUMENT))
ANN, TEAM, ROLE, POLICY = ({"UserName": "${n}-ann"}, {"GroupName": "${n}-team"}, {"RoleName": "${n}-role"},
                           {"PolicyArn": "${policy}"})

# ---- users and groups --------------------------------------------------------------------------------
step("CreateUser", ANN | {"Path": "/people/", "Tags": [TAG]}, save={"ann": "User.Arn"}, want={
    "User.UserName": "${n}-ann", "User.Path": "/people/", "User.Arn": ACCOUNT + ":user/people/${n}-ann",
    "User.UserId": matching("AIDA[A-Z0-9]+"), "User.CreateDate": NOW, "User.Tags": [TAG]})
step("CreateUser", ANN, refused="EntityAlreadyExists")
step("GetUser", ANN, want={"User.UserName": "${n}-ann", "User.CreateDate": NOW, "User.Tags": [TAG]})
step("GetUser", {"UserName": "${n}-absent"}, refused="NoSuchEntity")
step("UpdateUser", ANN | {"NewPath": "/staff/"})
step("ListUsers", {"PathPrefix": "/staff/"}, want={"Users[?UserName=='${n}-ann'] | [0].Arn": ACCOUNT + ":user/staff/${n}-ann",
                                                   "Users[0].CreateDate": NOW})
step("TagUser", ANN | {"Tags": [{"Key": "other", "Value": ""}]})
step("ListUserTags", ANN, want={"Tags[?Key=='team'] | [0].Value": TAG["Value"], "Tags[?Key=='other'] | [0].Value": ""})
step("UntagUser", ANN | {"TagKeys": ["other"]})
step("ListUserTags", ANN, want={"Tags": [TAG]})
step("CreateGroup", TEAM | {"Path": "/teams/"}, want={
    "Group.GroupName": "${n}-team", "Group.Arn": ACCOUNT + ":group/teams/${n}-team",
    "Group.GroupId": matching("AGPA[A-Z0-9]+"), "Group.CreateDate": NOW})
step("UpdateGroup", TEAM | {"NewPath": "/crews/"})
step("AddUserToGroup", TEAM | ANN)
step("GetGroup", TEAM, want={"Group.Path": "/crews/", "Users[].UserName": ["${n}-ann"], "Users[0].CreateDate": NOW})
step("ListGroups", {"PathPrefix": "/crews/"}, want={"Groups[].GroupName": Has("${n}-team")})
step("ListGroupsForUser", ANN, want={"Groups[].GroupName": ["${n}-team"], "Groups[0].CreateDate": NOW})

# ---- keys and credentials ----------------------------------------------------------------------------
step("CreateAccessKey", ANN, save={"key": "AccessKey.AccessKeyId"}, want={
    "AccessKey.UserName": "${n}-ann", "AccessKey.AccessKeyId": matching("AKIA[A-Z0-9]{16}"),
    "AccessKey.Status": "Active", "AccessKey.SecretAccessKey": TEXT, "AccessKey.CreateDate": NOW})
step("ListAccessKeys", ANN, want={"AccessKeyMetadata[].AccessKeyId": ["${key}"], "AccessKeyMetadata[0].Status": "Active",
                                  "AccessKeyMetadata[0].CreateDate": NOW})
step("UpdateAccessKey", ANN | {"AccessKeyId": "${key}", "Status": "Inactive"})
step("ListAccessKeys", ANN, want={"AccessKeyMetadata[0].Status": "Inactive"})
step("GetAccessKeyLastUsed", {"AccessKeyId": "${key}"}, want={
    "UserName": "${n}-ann", "AccessKeyLastUsed.Region": "N/A", "AccessKeyLastUsed.ServiceName": "N/A"})
step("GetAccessKeyInfo", {"AccessKeyId": "${key}"}, by="sts", want={"Account": "000000000000"})
step("DeleteAccessKey", ANN | {"AccessKeyId": "${key}"})
step("ListAccessKeys", ANN, want={"AccessKeyMetadata": NOTHING})
CREDENTIAL = ANN | {"ServiceSpecificCredentialId": "${credential}"}
step("CreateServiceSpecificCredential", ANN | {"ServiceName": "codecommit.amazonaws.com"},
     save={"credential": "ServiceSpecificCredential.ServiceSpecificCredentialId"}, want={
         "ServiceSpecificCredential.ServiceUserName": TEXT, "ServiceSpecificCredential.ServicePassword": TEXT,
         "ServiceSpecificCredential.ServiceName": "codecommit.amazonaws.com",
         "ServiceSpecificCredential.CreateDate": NOW, "ServiceSpecificCredential.Status": "Active"})
step("UpdateServiceSpecificCredential", CREDENTIAL | {"Status": "Inactive"})
step("ListServiceSpecificCredentials", ANN, want={
    "ServiceSpecificCredentials[].ServiceSpecificCredentialId": ["${credential}"],
    "ServiceSpecificCredentials[0].Status": "Inactive", "ServiceSpecificCredentials[0].CreateDate": NOW})
step("ResetServiceSpecificCredential", CREDENTIAL, want={"ServiceSpecificCredential.ServicePassword": TEXT})
step("DeleteServiceSpecificCredential", CREDENTIAL)
step("ListServiceSpecificCredentials", ANN, want={"ServiceSpecificCredentials": NOTHING})

# ---- roles -------------------------------------------------------------------------------------------
step("CreateRole", ROLE | {"AssumeRolePolicyDocument": TRUST, "Description": "first", "MaxSessionDuration": 7200, "Tags": [TAG]},
     save={"role": "Role.Arn"}, want={
         "Role.RoleName": "${n}-role", "Role.Arn": ACCOUNT + ":role/${n}-role", "Role.RoleId": matching("AROA[A-Z0-9]+"),
         "Role.CreateDate": NOW, "Role.MaxSessionDuration": 7200})
step("GetRole", ROLE, want={"Role.Description": "first", "Role.Tags": [TAG], "Role.CreateDate": NOW,
                            "Role.MaxSessionDuration": 7200})
step("UpdateRole", ROLE | {"Description": "second", "MaxSessionDuration": 3600})
step("GetRole", ROLE, want={"Role.Description": "second", "Role.MaxSessionDuration": 3600})
step("UpdateRoleDescription", ROLE | {"Description": "third"}, want={
    "Role.RoleName": "${n}-role", "Role.Description": "third"})
step("UpdateAssumeRolePolicy", ROLE | {"PolicyDocument": OTHER_TRUST})
step("ListRoles", {"PathPrefix": "/"}, want={"Roles[?RoleName=='${n}-role'] | [0].Description": "third"})
step("TagRole", ROLE | {"Tags": [{"Key": "other", "Value": "x"}]})
step("ListRoleTags", ROLE, want={"Tags[].Key | sort(@)": ["other", "team"]})
step("UntagRole", ROLE | {"TagKeys": ["other"]})
step("ListRoleTags", ROLE, want={"Tags": [TAG]})

# ---- policies ----------------------------------------------------------------------------------------
step("CreatePolicy", {"PolicyName": "${n}-policy", "PolicyDocument": DOCUMENT, "Description": "a policy", "Tags": [TAG]},
     save={"policy": "Policy.Arn"}, want={
         "Policy.PolicyName": "${n}-policy", "Policy.Arn": ACCOUNT + ":policy/${n}-policy",
         "Policy.PolicyId": matching("ANPA[A-Z0-9]+"), "Policy.DefaultVersionId": "v1", "Policy.AttachmentCount": 0,
         "Policy.IsAttachable": TRUE, "Policy.CreateDate": NOW, "Policy.UpdateDate": NOW})
step("CreatePolicyVersion", POLICY | {"PolicyDocument": OTHER, "SetAsDefault": True}, want={
    "PolicyVersion.VersionId": "v2", "PolicyVersion.IsDefaultVersion": TRUE, "PolicyVersion.CreateDate": NOW})
step("GetPolicyVersion", POLICY | {"VersionId": "v1"}, want={
    "PolicyVersion.VersionId": "v1", "PolicyVersion.IsDefaultVersion": FALSE, "PolicyVersion.Document": POLICY_TEXT})
step("ListPolicyVersions", POLICY, want={"Versions[].VersionId | sort(@)": ["v1", "v2"], "Versions[0].CreateDate": NOW})
step("SetDefaultPolicyVersion", POLICY | {"VersionId": "v1"})
step("DeletePolicyVersion", POLICY | {"VersionId": "v1"}, refused="DeleteConflict")
step("DeletePolicyVersion", POLICY | {"VersionId": "v2"})
step("GetPolicy", POLICY, want={"Policy.DefaultVersionId": "v1", "Policy.Description": "a policy", "Policy.Tags": [TAG]})
step("ListPolicies", {"Scope": "Local"}, want={"Policies[?Arn=='${policy}'] | [0].DefaultVersionId": "v1"})
step("TagPolicy", POLICY | {"Tags": [{"Key": "other", "Value": "x"}]})
step("ListPolicyTags", POLICY, want={"Tags[].Key | sort(@)": ["other", "team"]})
step("UntagPolicy", POLICY | {"TagKeys": ["other"]})
step("ListPolicyTags", POLICY, want={"Tags": [TAG]})
for kind, who in (("User", ANN), ("Group", TEAM), ("Role", ROLE)):
    step(f"Attach{kind}Policy", who | POLICY)
    step(f"ListAttached{kind}Policies", who, want={"AttachedPolicies": [
        {"PolicyName": "${n}-policy", "PolicyArn": "${policy}"}]})
    inline = who | {"PolicyName": "in+line"}
    step(f"Put{kind}Policy", inline | {"PolicyDocument": DOCUMENT})
    step(f"Get{kind}Policy", inline, want={"PolicyName": "in+line", f"{kind}Name": who[f"{kind}Name"], "PolicyDocument": POLICY_TEXT})
    step(f"List{kind}Policies", who, want={"PolicyNames": ["in+line"]})
    step(f"Delete{kind}Policy", inline)
    step(f"List{kind}Policies", who, want={"PolicyNames": NOTHING})
step("ListEntitiesForPolicy", POLICY, want={
    "PolicyUsers[].UserName": ["${n}-ann"], "PolicyGroups[].GroupName": ["${n}-team"], "PolicyRoles[].RoleName": ["${n}-role"]})
step("GetPolicy", POLICY, want={"Policy.AttachmentCount": at_least(3)})
step("PutUserPermissionsBoundary", ANN | {"PermissionsBoundary": "${policy}"})
step("GetUser", ANN, want={"User.PermissionsBoundary.PermissionsBoundaryArn": "${policy}",
                           "User.PermissionsBoundary.PermissionsBoundaryType": "Policy"})
step("DeleteUserPermissionsBoundary", ANN)
step("GetUser", ANN, want={"User.PermissionsBoundary": NOTHING})
step("PutRolePermissionsBoundary", ROLE | {"PermissionsBoundary": "${policy}"})
step("GetRole", ROLE, want={"Role.PermissionsBoundary.PermissionsBoundaryArn": "${policy}"})
step("DeleteRolePermissionsBoundary", ROLE)

# ---- away with it ------------------------------------------------------------------------------------
step("DeletePolicy", POLICY, refused="DeleteConflict")
for kind, who in (("User", ANN), ("Group", TEAM), ("Role", ROLE)):
    step(f"Detach{kind}Policy", who | POLICY)
step("ListAttachedRolePolicies", ROLE, want={"AttachedPolicies": NOTHING})
step("DeletePolicy", POLICY)
step("GetPolicy", POLICY, refused="NoSuchEntity")
step("RemoveUserFromGroup", TEAM | ANN)
step("GetGroup", TEAM, want={"Users": NOTHING})
step("DeleteGroup", TEAM)
step("DeleteRole", ROLE)
step("GetRole", ROLE, refused="NoSuchEntity")
step("DeleteUser", ANN)
step("ListUsers", {"PathPrefix": "/staff/"}, want={"Users[?UserName=='${n}-ann']": length(0)})
