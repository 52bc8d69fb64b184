import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { UsageError } from "../../src/cli/command-context.ts";
import { findEngine, type EngineFlags } from "../../src/cli/engine-address.ts";

async function find(flags: EngineFlags, env: Record<string, string> = {}) {
  const asked: string[] = [];
  const readToken = (directory: string) => {
    asked.push(directory);
    return "from-the-store";
  };
  const address = await findEngine(
    { env, homeDirectory: "/home/edge", cores: 2, memoryBytes: 2 ** 33 },
    flags,
    readToken,
  );
  const { url, token } = address;
  return { url, token, asked };
}

describe("findEngine", () => {
  it("finds engine and token by the engine's own settings", async () => {
    assert.deepEqual(await find({}), {
      url: "ws://127.0.0.1:8088/",
      token: "from-the-store",
      asked: ["/home/edge/.local/state/millrace"],
    });
    const env = { STREAM_MANAGER_SERVER_PORT: "9000", STREAM_MANAGER_STORE_ROOT_DIR: "/data" };
    assert.deepEqual(await find({}, env), {
      url: "ws://127.0.0.1:9000/",
      token: "from-the-store",
      asked: ["/data"],
    });
  });

  it("reaches an engine that listens on every address by the loopback one", async () => {
    assert.equal((await find({}, { MILLRACE_HOST: "0.0.0.0" })).url, "ws://127.0.0.1:8088/");
    assert.equal((await find({}, { MILLRACE_HOST: "::" })).url, "ws://[::1]:8088/");
  });

  it("prefers the token of the environment", async () => {
    const { token, asked } = await find({}, { AWS_CONTAINER_AUTHORIZATION_TOKEN: "given" });
    assert.equal(token, "given");
    assert.deepEqual(asked, []);
    const both = { AWS_CONTAINER_AUTHORIZATION_TOKEN: "of AWS", MILLRACE_TOKEN: "ours" };
    assert.equal((await find({}, both)).token, "ours");
    assert.equal((await find({}, { ...both, MILLRACE_TOKEN: "" })).token, "of AWS");
  });

  it("takes the engine's address from the environment, and from a flag over it", async () => {
    const env = { MILLRACE_URL: "wss://edge.example:1" };
    assert.equal((await find({}, env)).url, "wss://edge.example:1/");
    assert.equal((await find({ url: "ws://[::1]:2" }, env)).url, "ws://[::1]:2/");
    await assert.rejects(find({}, { MILLRACE_URL: "ws://me:secret@edge.example" }), UsageError);
  });

  it("does not present the store's token to another machine", async () => {
    const { token, asked } = await find({ url: "ws://edge.example:8088" });
    assert.equal(token, undefined);
    assert.deepEqual(asked, []);
    assert.equal((await find({ url: "ws://[::1]:8088" })).token, "from-the-store");
    assert.equal((await find({ url: "ws://localhost:1" })).token, "from-the-store");
  });

  it("asks for TLS where the engine wants it from this machine", async () => {
    const tls = { MILLRACE_TLS_CERTIFICATE: "c.pem", MILLRACE_TLS_KEY: "k.pem" };
    assert.equal((await find({}, tls)).url, "ws://127.0.0.1:8088/");
    assert.equal((await find({}, { ...tls, MILLRACE_PLAIN_FROM: "nowhere" })).url, "wss://127.0.0.1:8088/");
    assert.equal((await find({}, { ...tls, MILLRACE_HOST: "10.0.0.1" })).url, "wss://10.0.0.1:8088/");
    const anywhere = { ...tls, MILLRACE_HOST: "10.0.0.1", MILLRACE_PLAIN_FROM: "anywhere" };
    assert.equal((await find({}, anywhere)).url, "ws://10.0.0.1:8088/");
    await assert.rejects(find({}, { MILLRACE_TLS_KEY: "k.pem" }), /MILLRACE_TLS_CERTIFICATE must be too/);
  });

  it("refuses what is no URL of an engine, and secrets on the command line", async () => {
    for (const url of [
      "8088",
      "http://127.0.0.1:8088",
      "ws://me:secret@127.0.0.1:8088",
      "ws://127.0.0.1/?token=a",
    ]) {
      await assert.rejects(find({ url }), UsageError, url);
    }
    await assert.rejects(find({}, { STREAM_MANAGER_SERVER_PORT: "0" }), /give its address with --url/);
  });
});
