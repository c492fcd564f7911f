"""CodeBuild: projects, builds that really run, reports."""

from .core import FALSE, NOTHING, NOW, SOME, TEXT, TRUE, Has, Table, at_least, length, matching
from .roles import delete_role, make_role

step = Table("codebuild")
PROJECT, NAME = {"projectName": "${n}-project"}, "${n}-project"
SPEC = """version: 0.2
phases:
  build:
    commands:
      - echo "hello $WHO"
      - printf '<testsuite name="s"><testcase classname="c" name="good" time="0.5"/><testcase classname="c" name="bad"><failure message="no">x</failure></testcase></testsuite>' > tests.xml
reports:
  "${group}":
    files: [tests.xml]
"""
ENVIRONMENT = {"type": "LINUX_CONTAINER", "image": "aws/codebuild/standard:7.0", "computeType": "BUILD_GENERAL1_SMALL",
               "environmentVariables": [{"name": "WHO", "value": "nobody", "type": "PLAINTEXT"}]}
ARN = "arn:aws:codebuild:us-east-1:000000000000"

make_role(step, "codebuild", "logs:*", "codebuild:*")
step("CreateReportGroup", {"name": "${n}-reports", "type": "TEST", "exportConfig": {"exportConfigType": "NO_EXPORT"}},
     save={"group": "reportGroup.arn"}, want={
         "reportGroup.arn": ARN + ":report-group/${n}-reports", "reportGroup.name": "${n}-reports",
         "reportGroup.type": "TEST", "reportGroup.created": NOW})
step("BatchGetReportGroups", {"reportGroupArns": ["${group}", "${group}-absent"]}, want={
    "reportGroups[].arn": ["${group}"], "reportGroupsNotFound": ["${group}-absent"],
    "reportGroups[0].exportConfig.exportConfigType": "NO_EXPORT"})
step("ListReportGroups", want={"reportGroups": Has("${group}")})
step("CreateProject", {"name": NAME, "description": "first", "serviceRole": "${role}",
                       "source": {"type": "NO_SOURCE", "buildspec": SPEC}, "artifacts": {"type": "NO_ARTIFACTS"},
                       "environment": ENVIRONMENT, "tags": [{"key": "team", "value": "a"}], "timeoutInMinutes": 10}, want={
    "project.name": NAME, "project.arn": ARN + ":project/${n}-project", "project.created": NOW,
    "project.lastModified": NOW, "project.serviceRole": "${role}", "project.timeoutInMinutes": 10,
    "project.environment.environmentVariables[0].name": "WHO", "project.source.type": "NO_SOURCE"})
step("CreateProject", {"name": NAME, "serviceRole": "${role}", "source": {"type": "NO_SOURCE", "buildspec": SPEC},
                       "artifacts": {"type": "NO_ARTIFACTS"}, "environment": ENVIRONMENT}, refused="ResourceAlreadyExistsException")
step("UpdateProject", {"name": NAME, "description": "second"}, want={
    "project.description": "second", "project.timeoutInMinutes": 10, "project.lastModified": NOW})
step("BatchGetProjects", {"names": [NAME, "${n}-absent"]}, want={
    "projects[].description": ["second"], "projects[0].created": NOW, "projectsNotFound": ["${n}-absent"],
    "projects[0].tags": [{"key": "team", "value": "a"}]})
step("ListProjects", want={"projects": Has(NAME)})

# ---- a build that ends by itself ---------------------------------------------------------------------
step("StartBuild", PROJECT | {"environmentVariablesOverride": [{"name": "WHO", "value": "there", "type": "PLAINTEXT"}]},
     save={"build": "build.id"}, want={
         "build.id": matching("[\\w-]+-project:[0-9a-f-]{36}"), "build.projectName": NAME, "build.startTime": NOW,
         "build.buildStatus": "IN_PROGRESS", "build.buildComplete": FALSE, "build.buildNumber": at_least(1),
         "build.arn": ARN + ":build/${build}", "build.currentPhase": TEXT, "build.initiator": TEXT})
step("BatchGetBuilds", {"ids": ["${build}"]}, until={"builds[0].buildComplete": TRUE}, save={
    "log_group": "builds[0].logs.groupName", "log_stream": "builds[0].logs.streamName", "report": "builds[0].reportArns[0]"},
     want={"builds[0].buildStatus": "SUCCEEDED", "builds[0].endTime": NOW, "builds[0].phases[0].phaseType": "SUBMITTED",
           "builds[0].phases[0].startTime": NOW, "builds[0].phases[0].durationInSeconds": at_least(0),
           "builds[0].phases[-1].phaseType": "COMPLETED", "builds[0].reportArns": length(1), "buildsNotFound": NOTHING})
step("GetLogEvents", {"logGroupName": "${log_group}", "logStreamName": "${log_stream}", "startFromHead": True}, by="logs",
     want={"events[?contains(message, 'hello there')]": SOME})
step("ListBuilds", {"sortOrder": "DESCENDING"}, want={"ids": Has("${build}")})
step("ListBuildsForProject", PROJECT, want={"ids": ["${build}"]})
step("ListReports", want={"reports": Has("${report}")})
step("ListReportsForReportGroup", {"reportGroupArn": "${group}"}, want={"reports": ["${report}"]})
step("BatchGetReports", {"reportArns": ["${report}"]}, want={
    "reports[0].status": "FAILED", "reports[0].testSummary.total": 2, "reports[0].created": NOW,
    "reports[0].testSummary.statusCounts.FAILED": 1, "reports[0].testSummary.statusCounts.SUCCEEDED": 1,
    "reports[0].reportGroupArn": "${group}", "reports[0].executionId": TEXT})
step("DescribeTestCases", {"reportArn": "${report}"}, want={
    "testCases[].name | sort(@)": ["bad", "good"], "testCases[?name=='good'] | [0].status": "SUCCEEDED",
    "testCases[?name=='good'] | [0].durationInNanoSeconds": 500_000_000})
step("RetryBuild", {"id": "${build}"}, save={"again": "build.id"}, want={
    "build.buildNumber": at_least(2), "build.buildComplete": FALSE, "build.startTime": NOW})
step("BatchGetBuilds", {"ids": ["${again}"]}, until={"builds[0].buildComplete": TRUE}, want={"builds[0].buildStatus": "SUCCEEDED"},
     save={"second_report": "builds[0].reportArns[0]"})

# ---- a build that is stopped -------------------------------------------------------------------------
step("StartBuild", PROJECT | {"buildspecOverride": "version: 0.2\nphases: {build: {commands: ['sleep 600']}}\n"},
     save={"slow": "build.id"})
step("StopBuild", {"id": "${slow}"}, want={"build.id": "${slow}"})
step("BatchGetBuilds", {"ids": ["${slow}"]}, until={"builds[0].buildComplete": TRUE}, want={"builds[0].buildStatus": "STOPPED"})
step("BatchDeleteBuilds", {"ids": ["${build}", "${again}", "${slow}"]}, want={"buildsDeleted": length(3), "buildsNotDeleted": NOTHING})
step("BatchGetBuilds", {"ids": ["${build}"]}, want={"builds": NOTHING, "buildsNotFound": ["${build}"]})
step("DeleteReport", {"arn": "${report}"})
step("BatchGetReports", {"reportArns": ["${report}"]}, want={"reports": NOTHING, "reportsNotFound": ["${report}"]})
step("DeleteReport", {"arn": "${second_report}"})
step("DeleteReportGroup", {"arn": "${group}"})
step("BatchGetReportGroups", {"reportGroupArns": ["${group}"]}, want={"reportGroups": NOTHING})
step("DeleteProject", {"name": NAME})
step("BatchGetProjects", {"names": [NAME]}, want={"projects": NOTHING, "projectsNotFound": [NAME]})
step("StartBuild", PROJECT, refused="ResourceNotFoundException")
delete_role(step, "codebuild")
