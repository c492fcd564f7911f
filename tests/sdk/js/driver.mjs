// The AWS SDK for JavaScript v3 as a child process: one JSON line in per call, one out.
// `node driver.mjs FOLDER`: FOLDER has the node_modules that `npm ci` made. Bytes and times are tagged.

import { createRequire } from "node:module";
import readline from "node:readline";

const require = createRequire(process.argv[2] + "/");
const PACKAGES = { logs: "cloudwatch-logs" };
const CLIENTS = { iam: "IAM", sts: "STS", s3: "S3", codecommit: "CodeCommit", codebuild: "CodeBuild",
  codepipeline: "CodePipeline", codedeploy: "CodeDeploy", logs: "CloudWatchLogs" };
const made = new Map();

// This machine's clock, as wrong as a question says.
const True = Date;
let skew = 0;
globalThis.Date = class extends True {
  constructor(...given) {
    super(...(given.length ? given : [True.now() + skew]));
  }
  static now() {
    return True.now() + skew;
  }
};

function sdk(service) {
  return require("@aws-sdk/client-" + (PACKAGES[service] ?? service));
}

function client({ service, keys, endpoint, attempts, skewMs }) {
  const name = JSON.stringify([service, keys, endpoint, attempts, skewMs]);
  if (!made.has(name)) {
    const [accessKeyId, secretAccessKey] = keys;
    made.set(name, new (sdk(service)[CLIENTS[service] + "Client"])({
      region: "us-east-1", endpoint, maxAttempts: attempts, credentials: { accessKeyId, secretAccessKey },
      forcePathStyle: service === "s3" ? true : undefined }));
  }
  return made.get(name);
}

function untag(value) {
  if (Array.isArray(value)) return value.map(untag);
  if (value === null || typeof value !== "object") return value;
  if ("$bytes" in value) return Buffer.from(value.$bytes, "base64");
  if ("$time" in value) return new Date(value.$time);
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, untag(inner)]));
}

async function tag(value) {
  if (value instanceof Date) return { $time: value.toISOString() };
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString("base64") };
  if (Array.isArray(value)) return Promise.all(value.map(tag));
  if (value === null || typeof value !== "object") return value;
  if (typeof value.transformToByteArray === "function") return tag(await value.transformToByteArray());
  const members = Object.entries(value).filter(([name]) => name !== "$metadata");
  return Object.fromEntries(await Promise.all(members.map(async ([name, inner]) => [name, await tag(inner)])));
}

async function pages(question, input) {
  const found = [];
  const config = { client: client(question), pageSize: question.pageSize };
  for await (const page of sdk(question.service)["paginate" + question.operation](config, input)) found.push(page);
  return found;
}

async function answer(question) {
  skew = question.skewMs ?? 0;
  const module = sdk(question.service);
  const input = untag(question.input);
  if (question.waiter) {
    const config = { client: client(question), maxWaitTime: 120, minDelay: 1, maxDelay: 2 };
    const told = await module["waitUntil" + question.waiter](config, input);
    return { answer: { state: told.state } };
  }
  if (question.pages && !module["paginate" + question.operation]) {
    return { lacking: `the JavaScript SDK has no paginator of ${question.service} ${question.operation}` };
  }
  if (question.pages) return { answer: { pages: await tag(await pages(question, input)) } };
  const command = module[question.operation + "Command"];
  if (!command) return { lacking: `the JavaScript SDK has no ${question.service} ${question.operation}` };
  const told = await client(question).send(new command(input));
  if (!told.$metadata.requestId) return { failed: "the answer has no request id" };
  return { answer: await tag(told), attempts: told.$metadata.attempts };
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  let told;
  try {
    told = await answer(JSON.parse(line));
  } catch (error) {
    const status = error.$metadata?.httpStatusCode;
    told = status
      ? { refused: { code: error.Code ?? error.name, name: error.name, message: error.message ?? "", status } }
      : { failed: `${error.name}: ${error.message}` };
  }
  process.stdout.write(JSON.stringify(told) + "\n");
}
