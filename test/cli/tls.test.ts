import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { makeCertificate } from "../support/certificates.ts";

test(
  "serve speaks TLS to client and commands, and takes a new certificate by SIGHUP",
  { timeout: 60_000 },
  async (t) => {
    const directory = temporaryDirectory(t);
    const first = makeCertificate();
    const files = { certificate: path.join(directory, "cert.pem"), key: path.join(directory, "key.pem") };
    writeFileSync(files.certificate, first.certificate);
    writeFileSync(files.key, first.key, { mode: 0o600 });
    const authorities = path.join(directory, "authorities.pem");
    writeFileSync(authorities, first.certificate);
    const engine = await EngineProcess.start(t, {
      env: {
        MILLRACE_TLS_CERTIFICATE: files.certificate,
        MILLRACE_TLS_KEY: files.key,
        MILLRACE_PLAIN_FROM: "nowhere",
        MILLRACE_TLS_AUTHORITIES: authorities,
      },
    });
    // The commands find out by the settings that they must use TLS.
    assert.deepEqual((await engine.run(["streams", "create", "s"])).stderr, "");
    const { token } = engine;
    assert.ok(token !== undefined);
    const url = `wss://localhost:${engine.port}`;
    const client = await MillraceClient.connect({ url, token, authorities: first.certificate });
    t.after(() => client.close());
    assert.equal(await client.appendMessage("s", Buffer.from("a")), 0);
    await assert.rejects(MillraceClient.connect({ url, token }), /self-signed/);
    const plain = `ws://127.0.0.1:${engine.port}`;
    await assert.rejects(MillraceClient.connect({ url: plain, token }), {
      code: "UNSUPPORTED_PROTOCOL",
      message: /HTTP status 400 \(this port speaks TLS: use https:\/\/ or wss:\/\/\)/,
    });

    const second = makeCertificate();
    writeFileSync(files.certificate, second.certificate);
    writeFileSync(files.key, second.key, { mode: 0o600 });
    engine.serve.child.kill("SIGHUP");
    for (;;) {
      const next = await MillraceClient.connect({ url, token, authorities: second.certificate }).catch(
        () => undefined,
      );
      next?.close();
      if (next !== undefined) break;
    }
    // It is the same connection as before.
    assert.equal(await client.appendMessage("s", Buffer.from("b")), 1);
    assert.equal(client.reconnects, 0);
    const refused = await engine.run(["streams", "list"]);
    assert.equal(refused.code, 1);
    assert.equal((await engine.stop()).code, 0);
  },
);
