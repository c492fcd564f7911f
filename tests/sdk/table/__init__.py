"""The scenario table: for every service of the manifest, and S3, the steps that use each operation validly."""

from . import codebuild, codecommit, codedeploy, codedeploycommand, codepipeline, iam, logs, s3, sts

TABLES = {module.step.service: module.step
          for module in (iam, sts, s3, logs, codecommit, codebuild, codedeploy, codedeploycommand, codepipeline)}


def operations(service):
    """The operations that the table exercises, in any service's scenario."""
    return {operation for table in TABLES.values() for name, operation in table.operations() if name == service}
