/** What a page tried and what came of it, as it reports itself. */
export interface PageReport {
  /** `open`, and the operation that answered its append, or `refused`. */
  readonly webSocket: string;
  /** Status and body where the page could read the answer, else the error's name. */
  readonly metrics: string;
  /** Whether a request whose answer it may not read has told it anything. */
  readonly blindMetrics: string;
  readonly image: string;
  readonly script: string;
}

export interface HostilePageOptions {
  readonly name: string;
  /** Where the engine is, as the page names it: `127.0.0.1:8088`. */
  readonly engine: string;
  /** Where it reports to. */
  readonly collector: string;
  /** One frame that appends a message. */
  readonly appendFrame: Uint8Array;
}

/** A page that does all that a page can to a port of this machine. */
export function hostilePage({ name, engine, collector, appendFrame }: HostilePageOptions): string {
  return `<!doctype html><body><script type="module">
const webSocket = () => new Promise((resolve) => {
  const socket = new WebSocket("ws://${engine}/v1/ws", ["millrace.v1"]);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => socket.send(new Uint8Array([${appendFrame.join(",")}]));
  socket.onmessage = ({ data }) => resolve("open: " + new Uint8Array(data)[0]);
  socket.onerror = () => resolve("refused");
});
const ask = async (options) => {
  try {
    const response = await fetch("http://${engine}/metrics", options);
    return response.type + " " + response.status + " " + (await response.text()).trim().split("\\n")[0];
  } catch (error) {
    return error.name;
  }
};
const load = (tag) => new Promise((resolve) => {
  const element = document.createElement(tag);
  element.onload = () => resolve("loaded");
  element.onerror = () => resolve("failed");
  element.src = "http://${engine}/metrics?" + tag;
  document.body.append(element);
});
const report = {
  webSocket: await webSocket(),
  metrics: await ask({}),
  blindMetrics: await ask({ mode: "no-cors" }),
  image: await load("img"),
  script: await load("script"),
};
const body = JSON.stringify(report);
await fetch("http://${collector}/report?${name}", { method: "POST", mode: "no-cors", body });
</script>`;
}

/** What a page of an allowed origin reports that uses the client. */
export interface PanelReport {
  readonly sequence?: number;
  readonly messages?: readonly string[];
  readonly metrics?: string;
  readonly wrongToken?: string;
  /** What went wrong, where something did. */
  readonly error?: string;
}

/** A page that appends, reads and looks at the metrics by the client, as it was compiled, with a token. */
export function panelPage(options: {
  name: string;
  engine: string;
  collector: string;
  token: string;
}): string {
  const { name, engine, collector, token } = options;
  return `<!doctype html><body><script type="module">
const report = {};
try {
  const { MillraceClient } = await import("/dist/src/client/index.js");
  const url = "ws://${engine}";
  const client = await MillraceClient.connect({ url, token: "${token}" });
  report.sequence = await client.appendMessage("panel", new TextEncoder().encode("from the page"));
  const messages = await client.readMessages("panel", { minMessageCount: 2, maxMessageCount: 2 });
  report.messages = messages.map(({ payload }) => new TextDecoder().decode(payload));
  client.close();
  const headers = { Authorization: "Bearer ${token}" };
  report.metrics = (await (await fetch("http://${engine}/metrics", { headers })).text()).split("\\n")[0];
  report.wrongToken = await MillraceClient.connect({ url, token: "${"x".repeat(43)}" }).then(() => "let in", ({ code }) => code);
} catch (error) {
  report.error = String(error.stack);
}
const body = JSON.stringify(report);
await fetch("http://${collector}/report?${name}", { method: "POST", mode: "no-cors", body });
</script>`;
}
