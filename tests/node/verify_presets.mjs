// Judges signed requests by the packages that providers publish for Node.
//
// HOOKPOST_NODE_PACKAGES is a folder with node_modules. Each line on stdin is
//
//     {"preset", "url", "secrets", "serve", "request":
//      {"method", "query", "headers": [[name, value]], "body_base64"}}
//
// and is answered by {"package", "accepted", "reason"}.

import { createRequire, syncBuiltinESMExports } from "node:module";
import https from "node:https";
import path from "node:path";
import { createInterface } from "node:readline";
import { PassThrough } from "node:stream";

const packages = path.join(process.env.HOOKPOST_NODE_PACKAGES, "package.json");
const require = createRequire(packages);
const versions = require(packages).dependencies;

// What a package says is not the answer.
console.debug = console.log = console.error = () => {};

async function aws_sns({ body, serve }) {
  https.get = (url, tell) => {
    const response = Object.assign(new PassThrough(), { statusCode: 200 });
    tell(response);
    response.end(serve[url] ? Buffer.from(serve[url].body_base64, "base64") : "");
    return response;
  };
  syncBuiltinESMExports();
  const MessageValidator = require("sns-validator");
  const validated = (resolve, reject) =>
    new MessageValidator().validate(body.toString(), (error) => (error ? reject(error) : resolve()));
  await new Promise(validated);
  return true;
}

async function chargebee({ headers, secrets }) {
  const { basicAuthValidator } = require("chargebee");
  const [user, ...password] = secrets[0].split(":");
  const known = (name, text) => name === user && text === password.join(":");
  await basicAuthValidator(known)(headers);
  return true;
}

async function github({ headers, body, secrets }) {
  // Only for `import`, which looks for packages beside this file.
  const file = "node_modules/@octokit/webhooks-methods/dist-node/index.js";
  const { verify } = await import(path.resolve(path.dirname(packages), file));
  return verify(secrets[0], body.toString(), headers["x-hub-signature-256"]);
}

async function linear({ headers, body, secrets }) {
  const { LinearWebhookClient } = require("@linear/sdk/webhooks");
  return new LinearWebhookClient(secrets[0]).verify(body, headers["linear-signature"]);
}

async function notion({ headers, body, secrets }) {
  const { verifyWebhookSignature } = require("@notionhq/client");
  return verifyWebhookSignature({
    body: body.toString(),
    signature: headers["x-notion-signature"],
    verificationToken: secrets[0],
  });
}

async function shopify({ headers, body, secrets }) {
  require("@shopify/shopify-api/adapters/node");
  const { shopifyApi, ApiVersion, LogSeverity } = require("@shopify/shopify-api");
  const shop = shopifyApi({
    apiKey: "unused",
    apiSecretKey: secrets[0],
    apiVersion: Object.values(ApiVersion)[0],
    hostName: "hooks.example.test",
    isEmbeddedApp: false,
    logger: { level: LogSeverity.Error, log: () => {} },
  });
  const rawRequest = { method: "POST", url: "/in/shopify", headers };
  const verdict = await shop.webhooks.validate({ rawBody: body.toString(), rawRequest });
  return verdict.valid;
}

async function webflow({ headers, body, secrets }) {
  const { WebflowClient } = require("webflow-api");
  const { webhooks } = new WebflowClient({ accessToken: "unused" });
  return webhooks.verifySignature({ headers, body: body.toString(), secret: secrets[0] });
}

async function zoom({ headers, body, secrets }) {
  const { AwsLambdaReceiver } = require("@zoom/rivet/meetings");
  const receive = new AwsLambdaReceiver({ webhooksSecretToken: secrets[0] }).start();
  const { statusCode } = await receive({ headers, body: body.toString(), isBase64Encoded: false });
  return statusCode === 200;
}

const checks = {
  "aws-sns": ["sns-validator", aws_sns],
  chargebee: ["chargebee", chargebee],
  github: ["@octokit/webhooks-methods", github],
  linear: ["@linear/sdk", linear],
  notion: ["@notionhq/client", notion],
  shopify: ["@shopify/shopify-api", shopify],
  webflow: ["webflow-api", webflow],
  zoom: ["@zoom/rivet", zoom],
};

async function verdict(line) {
  const { preset, request, ...sent } = JSON.parse(line);
  const headers = Object.fromEntries(
    request.headers.map(([name, value]) => [name.toLowerCase(), value]),
  );
  const body = Buffer.from(request.body_base64, "base64");
  const [name, check] = checks[preset];
  try {
    const accepted = await check({ ...sent, headers, body });
    return { package: `${name} ${versions[name]}`, accepted, reason: "" };
  } catch (error) {
    return { package: `${name} ${versions[name]}`, accepted: false, reason: String(error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(await verdict(line)) + "\n");
}
