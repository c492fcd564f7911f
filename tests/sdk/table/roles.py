"""What several scenarios begin with: a role that a service may take on."""

import json


def trust(service):
    return json.dumps({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}]})


def allow(*actions):
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]})


def make_role(step, service, *actions):
    """Steps that make the role; its ARN is kept as `role`."""
    name = {"RoleName": f"${{n}}-{service}"}
    step("CreateRole", name | {"AssumeRolePolicyDocument": trust(service)}, by="iam", save={"role": "Role.Arn"})
    step("PutRolePolicy", name | {"PolicyName": "work", "PolicyDocument": allow(*actions)}, by="iam")


def delete_role(step, service):
    name = {"RoleName": f"${{n}}-{service}"}
    step("DeleteRolePolicy", name | {"PolicyName": "work"}, by="iam")
    step("DeleteRole", name, by="iam")
