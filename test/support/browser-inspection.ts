import { once } from "node:events";
import { WebSocket } from "ws";
import { openDebuggedBrowser, PageServer } from "./browser.ts";
import type { CleanUp } from "./program.ts";

const ANSWER_DEADLINE_MS = 30_000;

export interface Inspected<K extends string> {
  /** Errors, warnings and whatever else the page's console got. */
  readonly complaints: readonly string[];
  /** What the page asked for beside itself. */
  readonly requests: readonly string[];
  /** How many elements each selector matches. */
  readonly found: Readonly<Record<K, number>>;
  /** What the expression of `look` gave in the page. */
  readonly seen: unknown;
}

type Params = Readonly<Record<string, unknown>>;

/** Opens a page in a real browser and tells what it did, by the Chrome DevTools Protocol. */
export async function inspectPage<K extends string>(
  t: CleanUp,
  html: string,
  selectors: Readonly<Record<K, string>>,
  look = "undefined",
): Promise<Inspected<K>> {
  const pages = await PageServer.listen(t, "127.0.0.1", (target) => (target === "/" ? html : undefined));
  const url = `http://127.0.0.1:${pages.port}/`;
  const complaints: string[] = [];
  const requests: string[] = [];
  const tab = await Tab.open(t, await openDebuggedBrowser(t));
  tab.on("Runtime.exceptionThrown", (params) => complaints.push(JSON.stringify(params)));
  tab.on("Runtime.consoleAPICalled", (params) => complaints.push(JSON.stringify(params)));
  tab.on("Log.entryAdded", (params) => complaints.push(JSON.stringify(params)));
  tab.on("Network.requestWillBeSent", ({ request }) => {
    const asked = (request as { url: string }).url;
    if (asked !== url && !asked.startsWith("data:")) requests.push(asked);
  });
  for (const domain of ["Runtime", "Log", "Network", "Page"]) await tab.command(`${domain}.enable`);
  const loaded = tab.next("Page.loadEventFired");
  await tab.command("Page.navigate", { url });
  await loaded;
  const entries = Object.entries<string>(selectors);
  const counts = await Promise.all(entries.map(async ([, selector]) => tab.count(selector)));
  const found = Object.fromEntries(entries.map(([name], index) => [name, counts[index]!]));
  const seen = await tab.evaluate(look);
  return { complaints, requests, found: found as Record<K, number>, seen };
}

/** A tab of the browser, and the commands that it answers. */
class Tab {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (result: Params) => void>();
  readonly #listeners = new Map<string, (params: Params) => void>();
  #session: string | undefined;
  #nextId = 1;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on("message", (data: Buffer) => this.#onMessage(data.toString()));
  }

  static async open(t: CleanUp, browserUrl: string): Promise<Tab> {
    const socket = new WebSocket(browserUrl);
    t.after(() => socket.terminate());
    await once(socket, "open");
    const tab = new Tab(socket);
    const { targetId } = await tab.command("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await tab.command("Target.attachToTarget", { targetId, flatten: true });
    tab.#session = sessionId as string;
    return tab;
  }

  on(event: string, listener: (params: Params) => void): void {
    this.#listeners.set(event, listener);
  }

  async next(event: string): Promise<Params> {
    return this.#inTime(event, (resolve) => this.on(event, resolve));
  }

  async command(method: string, params: Params = {}): Promise<Params> {
    const id = this.#nextId++;
    const session = this.#session === undefined ? {} : { sessionId: this.#session };
    this.#socket.send(JSON.stringify({ id, method, params, ...session }));
    return this.#inTime(method, (resolve) => this.#waiting.set(id, resolve));
  }

  async count(selector: string): Promise<number> {
    return (await this.evaluate(`document.querySelectorAll(${JSON.stringify(selector)}).length`)) as number;
  }

  async evaluate(expression: string): Promise<unknown> {
    const { result } = await this.command("Runtime.evaluate", { expression });
    return (result as { value?: unknown }).value;
  }

  async #inTime(what: string, wait: (resolve: (params: Params) => void) => void): Promise<Params> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`the browser did not answer ${what}`)),
        ANSWER_DEADLINE_MS,
      );
      wait((params) => {
        clearTimeout(timer);
        resolve(params);
      });
    });
  }

  #onMessage(text: string): void {
    const message = JSON.parse(text) as { id?: number; method?: string; params?: Params; result?: Params };
    if (message.id !== undefined) this.#waiting.get(message.id)?.(message.result ?? {});
    else if (message.method !== undefined) this.#listeners.get(message.method)?.(message.params ?? {});
  }
}
