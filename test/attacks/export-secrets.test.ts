import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { inspect } from "node:util";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { HttpTarget } from "../support/http-target.ts";

const timeout = 60_000;
const CANARY = "CANARY";

describe("secrets", () => {
  it("of headers and URLs of exports are in no log, error, metric or report", { timeout }, async (t) => {
    const target = await HttpTarget.start();
    t.after(() => target.close());
    const location = `http://user:${CANARY}-password@10.0.0.1/${CANARY}-path`;
    target.answer = (_, index) => ({
      kind: "status",
      status: index % 2 === 0 ? 302 : 503,
      headers: { location, "www-authenticate": `Bearer ${CANARY}-realm` },
      body: `${CANARY}-answer`,
    });
    const headersPath = path.join(temporaryDirectory(t), "headers");
    writeFileSync(headersPath, `[*]\nAuthorization: Bearer ${CANARY}-token\n`, { mode: 0o600 });
    const engine = await EngineProcess.start(t, {
      env: {
        LOG_LEVEL: "TRACE",
        MILLRACE_EXPORT_HTTP_HEADERS: headersPath,
        MILLRACE_EXPORT_HTTP_INWARD: "127.0.0.1",
      },
    });
    const client = await MillraceClient.connect({
      url: `ws://127.0.0.1:${engine.port}`,
      token: engine.token ?? "",
    });
    t.after(() => client.close());
    const uris = [
      `${target.origin}/${CANARY}-path?key=${CANARY}-query`,
      `https://127.0.0.2:9/${CANARY}-path`,
      `http://user:${CANARY}-password@[`,
    ];
    const http = uris.map((uri, index) => ({ identifier: `h${index}`, uri }));
    await client.createMessageStream({
      name: "exported",
      strategyOnFull: StrategyOnFull.RejectNewData,
      exportDefinition: { http },
    });
    await client.appendMessage("exported", Buffer.from(`${CANARY}-payload`));
    const shown: string[] = [];
    const withPassword = [{ identifier: "h0", uri: `http://user:${CANARY}-password@127.0.0.1:9/` }];
    for (const name of ["exported", "another"]) {
      const definition = {
        name,
        strategyOnFull: StrategyOnFull.RejectNewData,
        exportDefinition: { http: withPassword },
      };
      const refused =
        name === "another" ? client.createMessageStream(definition) : client.updateMessageStream(definition);
      await assert.rejects(refused, (thrown: Error) => {
        shown.push(inspect(thrown));
        return /"h0": its uri holds a user name or password/.test(thrown.message);
      });
    }
    for (let isTold = false; !isTold;) {
      const { exporters } = await client.describeStream("exported");
      isTold = exporters.every(({ errorMessage }) => errorMessage !== "") && target.requests.length > 1;
      // The definition itself holds the URLs, and whoever may describe the stream is told of it.
      if (isTold) shown.push(JSON.stringify(exporters));
      else await after(10);
    }
    assert.equal(target.requests[0]!.headers.authorization, `Bearer ${CANARY}-token`);
    shown.push(await engine.metrics());
    const { stdout, stderr } = await engine.stop();
    assert.match(stderr, /"event":"export\.failed"/);
    for (const text of [...shown, stdout, stderr]) assert.doesNotMatch(text, new RegExp(CANARY));
  });

  it(
    "of a headers file that others may read keep the engine from starting, unsaid",
    { timeout },
    async (t) => {
      const headersPath = path.join(temporaryDirectory(t), "headers");
      writeFileSync(headersPath, `[*]\nAuthorization: Bearer ${CANARY}-token\n`, { mode: 0o644 });
      const serve = EngineProcess.spawn(t, {
        storeDirectory: temporaryDirectory(t),
        env: { MILLRACE_EXPORT_HTTP_HEADERS: headersPath },
      });
      const { code, stdout, stderr } = await serve.finished();
      assert.notEqual(code, 0);
      assert.match(stdout + stderr, /mode 644 lets others in/);
      assert.doesNotMatch(stdout + stderr, new RegExp(CANARY));
    },
  );
});
