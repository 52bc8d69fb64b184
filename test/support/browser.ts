import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Server } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import type { CleanUp } from "./program.ts";

export const BROWSER = "chromium";
/** Where `/dist/…` of a page's server leads. */
const dist = path.join(import.meta.dirname, "..", "..");

/** Nothing that asks the network for anything of its own. */
const flags = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-default-apps",
  "--disable-extensions",
  "--disable-sync",
  "--no-first-run",
];

export interface BrowserOptions {
  readonly url: string;
  /** Names and the addresses that they resolve to; no other name resolves. */
  readonly hosts: Readonly<Record<string, string>>;
}

/** A real browser on one page until the test ends. */
export function openBrowser(t: CleanUp, options: BrowserOptions): void {
  launch(t, options, []).stderr?.resume();
}

const DEBUG_DEADLINE_MS = 30_000;

/** The same on an empty page. @returns where it takes commands, an address of the Chrome DevTools Protocol */
export async function openDebuggedBrowser(t: CleanUp): Promise<string> {
  const { stderr } = launch(t, { url: "about:blank", hosts: {} }, ["--remote-debugging-port=0"]);
  const lines = createInterface({ input: stderr! });
  const timer = setTimeout(() => lines.close(), DEBUG_DEADLINE_MS);
  for await (const line of lines) {
    const address = /DevTools listening on (ws:\S+)/.exec(line)?.[1];
    if (address === undefined) continue;
    clearTimeout(timer);
    stderr!.resume();
    return address;
  }
  throw new Error(`${BROWSER} gave no address for commands`);
}

function launch(t: CleanUp, { url, hosts }: BrowserOptions, extraFlags: readonly string[]): ChildProcess {
  const profile = mkdtempSync(path.join(tmpdir(), "millrace-browser-"));
  const rules = Object.entries(hosts).map(([name, address]) => `MAP ${name} ${address}`);
  const args = [
    ...flags,
    ...extraFlags,
    `--user-data-dir=${profile}`,
    `--host-resolver-rules=${[...rules, "MAP * ~NOTFOUND", "EXCLUDE 127.0.0.*"].join(",")}`,
    url,
  ];
  const stdio = ["ignore", "ignore", "pipe"] as const;
  // In a group of its own, since its other processes outlive the first by a moment and would still write.
  const env = { ...process.env, HOME: profile };
  const browser = spawn(BROWSER, args, { stdio: [...stdio], env, detached: true });
  const ended = once(browser, "exit");
  t.after(async () => {
    browser.kill("SIGTERM");
    await ended;
    endGroup(browser.pid);
    rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  });
  return browser;
}

function endGroup(leader: number | undefined): void {
  if (leader === undefined) return;
  try {
    process.kill(-leader, "SIGKILL");
  } catch (error) {
    // All of them have ended.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** What a page's server answers: the text of a page, or nothing where it serves none. */
export type PageText = (target: string) => string | undefined;

/** Serves pages, the compiled modules under `/dist/`, and takes what pages report by a POST of JSON to `/report?<name>`. */
export class PageServer {
  readonly #server: Server;
  readonly #reports = new Map<string, (report: unknown) => void>();
  readonly #early = new Map<string, unknown>();

  private constructor(server: Server) {
    this.#server = server;
  }

  static async listen(t: CleanUp, host: string, page: PageText = () => undefined): Promise<PageServer> {
    const server = createServer((request, response) => {
      pages.#answer(request, response, page);
    });
    const pages = new PageServer(server);
    server.listen(0, host);
    await once(server, "listening");
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    return pages;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** What the page of that name reports, or has reported. */
  async report<T>(name: string): Promise<T> {
    const early = this.#early.get(name);
    if (early !== undefined) return early as T;
    return new Promise<unknown>((resolve) => this.#reports.set(name, resolve)) as Promise<T>;
  }

  #answer(request: IncomingMessage, response: ServerResponse, page: PageText): void {
    const target = request.url ?? "/";
    if (request.method === "POST") {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        const name = target.slice(target.indexOf("?") + 1);
        const report: unknown = JSON.parse(Buffer.concat(chunks).toString());
        this.#early.set(name, report);
        this.#reports.get(name)?.(report);
        response.writeHead(204).end();
      });
      return;
    }
    const script = /^\/dist(\/[\w/.-]+\.js)$/.exec(target)?.[1];
    const text = script === undefined ? page(target) : readFileSync(path.join(dist, script), "utf8");
    if (text === undefined) response.writeHead(404).end();
    else {
      const type = script === undefined ? "text/html" : "text/javascript";
      response.writeHead(200, { "Content-Type": `${type}; charset=utf-8` }).end(text);
    }
  }
}
