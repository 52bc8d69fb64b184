import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { makeCertificate } from "../support/certificates.ts";
import { runProgram } from "../support/program.ts";
import { skipOrFail } from "../support/require-program.ts";

/* A network namespace with a pair of interfaces to this one: what a container with a bridge network sees of its host. */
const ENGINE_ADDRESS = "10.213.77.1";
const CLIENT_ADDRESS = "10.213.77.2";

function makeNamespace(t: TestContext): string | undefined {
  const name = `millrace-${process.pid}`;
  const [outside, inside] = [`mr${process.pid}a`, `mr${process.pid}b`];
  const ip = (...args: string[]): void => void execFileSync("ip", args, { stdio: "pipe" });
  try {
    ip("netns", "add", name);
  } catch (error) {
    skipOrFail(
      t,
      `no network namespace can be made here (${String(error).split("\n")[0]}); needs root and ip`,
    );
    return undefined;
  }
  // The interfaces go with the namespace.
  t.after(() => ip("netns", "delete", name));
  ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name);
  ip("address", "add", `${ENGINE_ADDRESS}/24`, "dev", outside);
  ip("link", "set", outside, "up");
  ip("-netns", name, "address", "add", `${CLIENT_ADDRESS}/24`, "dev", inside);
  ip("-netns", name, "link", "set", inside, "up");
  return name;
}

const clientModule = path.join(import.meta.dirname, "..", "..", "src", "client", "index.js");

/** Appends from within the namespace; what the client says when it may not. */
function appendFrom(
  namespace: string,
  options: { url: string; token?: string | undefined; authorities?: string },
): string {
  const script = `
    import { MillraceClient } from ${JSON.stringify(clientModule)};
    try {
      const client = await MillraceClient.connect(JSON.parse(process.env.OPTIONS));
      console.log("appended", await client.appendMessage("s", Buffer.from("a")));
      client.close();
    } catch (error) {
      console.log(error.message);
    }`;
  const args = ["netns", "exec", namespace, process.execPath, "--input-type=module", "-e", script];
  const env = { PATH: process.env["PATH"], OPTIONS: JSON.stringify(options) };
  return spawnSync("ip", args, { env, encoding: "utf8", timeout: 30_000 }).stdout.trim();
}

test(
  "a container reaches a port on the bridge's address, with a token and by TLS",
  { timeout: 90_000 },
  async (t) => {
    const namespace = makeNamespace(t);
    if (namespace === undefined) return;
    const directory = temporaryDirectory(t);
    const { certificate, key } = makeCertificate({ dnsNames: ["millrace.test"] });
    const files = { certificate: path.join(directory, "cert.pem"), key: path.join(directory, "key.pem") };
    writeFileSync(files.certificate, certificate);
    writeFileSync(files.key, key, { mode: 0o600 });

    const engine = await EngineProcess.start(t, { env: { MILLRACE_HOST: ENGINE_ADDRESS } });
    const url = `ws://${ENGINE_ADDRESS}:${engine.port}`;
    const { stderr } = await engine.run(["streams", "create", "s", "--url", url]);
    // The store's own token is for this machine's addresses; the owner says so for others.
    assert.match(stderr, /a token is needed and none was given/);
    const environment = { ...engine.env, AWS_CONTAINER_AUTHORIZATION_TOKEN: engine.token ?? "" };
    const program = path.join(import.meta.dirname, "..", "..", "src", "millrace.js");
    const created = await runProgram(t, [program, "streams", "create", "s"], { env: environment });
    assert.deepEqual([created.code, created.stderr], [0, ""]);
    const { stdout } = await engine.run(["tokens", "create", "container", "--append", "s"]);
    const token = stdout.trim();
    let said = "";
    while (!said.startsWith("appended")) said = appendFrom(namespace, { url, token });
    assert.equal(said, "appended 0");
    assert.match(appendFrom(namespace, { url }), /a token is needed and none was given/);
    assert.match(appendFrom(namespace, { url, token: `${token}x` }), /the token was refused/);
    const stopped = await engine.stop();
    assert.match(stopped.stderr, /"event":"tls.missing"/);

    const tls = { MILLRACE_TLS_CERTIFICATE: files.certificate, MILLRACE_TLS_KEY: files.key };
    const { storeDirectory } = engine;
    const env = { MILLRACE_HOST: ENGINE_ADDRESS, ...tls };
    const secure = await EngineProcess.start(t, { storeDirectory, env });
    const plain = `ws://${ENGINE_ADDRESS}:${secure.port}`;
    assert.match(appendFrom(namespace, { url: plain, token }), /HTTP status 400 \(this port speaks TLS/);
    const wss = `wss://${ENGINE_ADDRESS}:${secure.port}`;
    assert.match(appendFrom(namespace, { url: wss, token, authorities: certificate }), /altnames/);
    assert.doesNotMatch((await secure.stop()).stderr, /tls.missing/);
  },
);
