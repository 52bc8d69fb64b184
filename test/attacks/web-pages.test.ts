import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { encodeAppendMessage } from "../../src/wire/append-message.ts";
import { Operation } from "../../src/wire/operation.ts";
import { BROWSER, openBrowser, PageServer } from "../support/browser.ts";
import { EngineProcess } from "../support/engine-process.ts";
import { requireProgram } from "../support/require-program.ts";
import { hostilePage, type PageReport, panelPage, type PanelReport } from "./hostile-page.ts";

const timeout = 120_000;
/** Names as the browser's resolver is told them: each site has an address of its own, all on this machine. */
const hosts = { "evil.example": "127.0.0.2", "panel.example": "127.0.0.3", "rebound.example": "127.0.0.4" };
const STREAM = "panel";
const appendFrame = encodeAppendMessage({
  requestId: "page",
  name: STREAM,
  payload: Buffer.from("from a hostile page"),
});

/**
 * A name that was made to lead here: who asks for the page gets it, and everything else comes from the engine itself, on the same port, so
 * that the browser takes the engine for the site that the page came from.
 */
async function rebind(t: TestContext, enginePort: number, page: string): Promise<void> {
  const sockets = new Set<Socket>();
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    return socket.on("error", () => undefined);
  };
  const server = createServer((socket) => {
    keep(socket).once("data", (bytes) => {
      if (bytes.toString("latin1").startsWith("GET /page")) {
        const head = `HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n`;
        socket.end(`${head}Content-Length: ${Buffer.byteLength(page)}\r\n\r\n${page}`);
        return;
      }
      const engine = keep(connect(enginePort, "127.0.0.1"));
      engine.write(bytes);
      socket.pipe(engine).pipe(socket);
    });
  });
  server.listen(enginePort, hosts["rebound.example"]);
  await once(server, "listening");
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
}

async function makeStream(t: TestContext, engine: EngineProcess): Promise<MillraceClient> {
  const { port, token } = engine;
  const client = await MillraceClient.connect({
    url: `ws://127.0.0.1:${port}`,
    ...(token !== undefined && { token }),
  });
  t.after(() => {
    client.close();
  });
  await client.createMessageStream({ name: STREAM, strategyOnFull: StrategyOnFull.RejectNewData });
  await client.appendMessage(STREAM, Buffer.from("before"));
  return client;
}

async function payloads(client: MillraceClient): Promise<string[]> {
  const messages = await client.readMessages(STREAM, { maxMessageCount: 100 });
  return messages.map(({ payload }) => Buffer.from(payload).toString());
}

async function refusals(engine: EngineProcess, reason: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${engine.port}/metrics`)).text();
  const line = new RegExp(`^millrace_connections_refused_total\\{reason="${reason}"\\} (\\d+)$`, "m");
  return Number(line.exec(text)?.[1] ?? 0);
}

describe("a page in a real browser", () => {
  it(
    "of another origin can neither append nor read nor see metrics, by whatever name, and one of an allowed origin can",
    { timeout },
    async (t) => {
      if (!requireProgram(t, BROWSER, "run web pages against the port")) return;
      const pages = new Map<string, string>();
      const page = (target: string): string | undefined => pages.get(target);
      const [collector, evil, panel] = await Promise.all([
        PageServer.listen(t, "127.0.0.1", page),
        PageServer.listen(t, hosts["evil.example"], page),
        PageServer.listen(t, hosts["panel.example"], page),
      ]);
      const MILLRACE_ALLOWED_ORIGINS = `http://panel.example:${panel.port}`;
      const [open, guarded] = await Promise.all([
        // Without a token nothing stands between a page and the streams but the checks of where it comes from.
        EngineProcess.start(t, {
          env: { MILLRACE_ALLOWED_ORIGINS, STREAM_MANAGER_AUTHENTICATE_CLIENT: "false" },
        }),
        EngineProcess.start(t, { env: { MILLRACE_ALLOWED_ORIGINS } }),
      ]);
      const clients = await Promise.all([makeStream(t, open), makeStream(t, guarded)]);
      const shared = { collector: `127.0.0.1:${collector.port}`, appendFrame };
      const engine = `127.0.0.1:${open.port}`;
      const reboundEngine = `rebound.example:${open.port}`;
      pages.set("/evil", hostilePage({ ...shared, name: "evil", engine }));
      pages.set("/sandboxed", hostilePage({ ...shared, name: "sandboxed", engine }));
      pages.set("/allowed", hostilePage({ ...shared, name: "allowed", engine }));
      const token = guarded.token!;
      pages.set(
        "/panel",
        panelPage({ ...shared, name: "panel", engine: `127.0.0.1:${guarded.port}`, token }),
      );
      await rebind(t, open.port, hostilePage({ ...shared, name: "rebound", engine: reboundEngine }));
      pages.set(
        "/",
        `<!doctype html><iframe src="http://evil.example:${evil.port}/evil"></iframe>
        <iframe sandbox="allow-scripts" src="http://evil.example:${evil.port}/sandboxed"></iframe>
        <iframe src="http://${reboundEngine}/page"></iframe>
        <iframe src="http://panel.example:${panel.port}/allowed"></iframe>
        <iframe src="http://panel.example:${panel.port}/panel"></iframe>`,
      );
      openBrowser(t, { url: `http://127.0.0.1:${collector.port}/`, hosts });

      for (const name of ["evil", "sandboxed"]) {
        const report = await collector.report<PageReport>(name);
        const nothing = {
          metrics: "TypeError",
          blindMetrics: "TypeError",
          image: "failed",
          script: "failed",
        };
        assert.deepEqual(report, { webSocket: "refused", ...nothing }, name);
      }
      const rebound = await collector.report<PageReport>("rebound");
      assert.equal(rebound.webSocket, "refused");
      // Of the same origin, as the browser sees it, so that it may read what it gets: a refusal.
      assert.equal(rebound.metrics, "basic 403 host not allowed");
      assert.equal(rebound.script, "failed");

      const allowed = await collector.report<PageReport>("allowed");
      assert.equal(allowed.webSocket, `open: ${Operation.AppendMessageResponse}`);
      assert.match(allowed.metrics, /^cors 200 # HELP /);
      const panelReport = await collector.report<PanelReport>("panel");
      assert.equal(panelReport.error, undefined);
      assert.equal(panelReport.sequence, 1);
      assert.deepEqual(panelReport.messages, ["before", "from the page"]);
      assert.match(panelReport.metrics!, /^# HELP /);
      assert.equal(panelReport.wrongToken, "CONNECT_FAILED");

      // What was refused did come as far as the engine: each way counts.
      assert.ok((await refusals(open, "origin")) >= 2 * 5, "evil and sandboxed, five tries each");
      assert.ok((await refusals(open, "host")) >= 3, "rebound: WebSocket, fetch, script");
      assert.deepEqual(
        await payloads(clients[0]),
        ["before", "from a hostile page"],
        "the allowed page's own",
      );
      assert.deepEqual(await payloads(clients[1]), ["before", "from the page"]);
    },
  );
});
