"""boto3, and the same botocore made to speak each of a model's protocols."""

import json
import pathlib

import botocore.loaders
import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from ..runner import Refused
from ..strict import problems_of

CHECKED = ("json", "query", "smithy-rpc-v2-cbor")
MODELS = pathlib.Path(__file__).parents[3] / "models"


class OurModel(botocore.loaders.Loader):
    """botocore's models, with the agents' service beside them, and with the protocol that is asked for."""

    protocol = None
    json_version = None

    def load_service_model(self, service_name, type_name, api_version=None):
        if service_name == "codedeploycommand" and type_name == "service-2":
            return json.loads((MODELS / "codedeploycommand.json").read_text())
        model = super().load_service_model(service_name, type_name, api_version)
        if type_name == "service-2" and self.protocol in model["metadata"].get("protocols", ()):
            model = dict(model, metadata=dict(model["metadata"], protocol=self.protocol, protocols=[self.protocol]))
            if self.json_version:
                model["metadata"]["jsonVersion"] = self.json_version
        return model


class Boto:
    """One session; one client per service and keys."""

    def __init__(self, server, name="boto3", protocol=None, json_version=None):
        self.name = name
        self.server = server
        self.session = botocore.session.Session()
        loader = OurModel(include_default_search_paths=True)
        loader.protocol, loader.json_version = protocol, json_version
        self.session.register_component("data_loader", loader)
        self.clients = {}
        self.strange = []

    def client(self, service, keys=None):
        if (service, keys) not in self.clients:
            access, secret = keys or self.server.root_keys()
            made = self.session.create_client(
                service, region_name="us-east-1", endpoint_url=self.server.url, aws_access_key_id=access,
                aws_secret_access_key=secret, config=Config(retries={"max_attempts": 0}, parameter_validation=True))
            made.meta.events.register("before-parse", self.look)
            self.clients[service, keys] = made
        return self.clients[service, keys]

    def look(self, operation_model, response_dict, **_):
        protocol = operation_model.service_model.resolved_protocol
        if response_dict["status_code"] < 300 and protocol in CHECKED:
            self.strange += problems_of(protocol, operation_model.output_shape, response_dict["body"])

    def call(self, service, operation, parameters, keys=None):
        self.strange = []
        try:
            answer = self.client(service, keys)._make_api_call(operation, parameters)
        except ClientError as error:
            raise Refused(error.response["Error"]["Code"], error.response["Error"]["Message"]) from error
        if self.strange:
            raise AssertionError(f"the answer is not the model's: {self.strange}")
        headers = answer.pop("ResponseMetadata")["HTTPHeaders"]
        assert headers.get("x-amzn-requestid") or headers.get("x-amz-request-id"), headers
        for name, value in answer.items():
            if hasattr(value, "read"):
                answer[name] = value.read()
        return answer

    def stop(self):
        for client in self.clients.values():
            client.close()
