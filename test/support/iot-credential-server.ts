import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { TLSSocket } from "node:tls";
import type { IotCredentialSettings } from "../../src/export/worker-settings.ts";
import { makeCertificate, type TestCertificate } from "./certificates.ts";
import type { CleanUp } from "./program.ts";

const ROLE_ALIAS = "edge-export";
/** Stands in every secret that the server gives out, to be looked for where it must not be. */
export const SECRET_MARK = "s3cr3tmark";

export interface CredentialRequest {
  readonly url: string;
  readonly thingName: string | undefined;
  /** SHA-256 of the certificate that the client showed. */
  readonly fingerprint: string;
}

/**
 * Answers as the AWS IoT credential provider does, over TLS that asks for a client certificate: each fetch gets a new access
 * key, numbered from 1.
 */
export class IotCredentialServer {
  readonly requests: CredentialRequest[] = [];
  readonly directory: string;
  /** How long what is given out lasts from now on. */
  lifeMs = 15 * 60_000;
  /** Instead of an answer, where something else is wanted. */
  answer: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;
  readonly #server: Server;
  readonly #own = makeCertificate();
  readonly #trusted: TestCertificate[] = [makeCertificate({ commonName: "device 1" })];
  #port = 0;

  private constructor() {
    this.directory = mkdtempSync(path.join(tmpdir(), "millrace-iot-"));
    this.#server = createServer(
      { cert: this.#own.certificate, key: this.#own.key, requestCert: true, ...this.#trust() },
      (request, response) => this.#serve(request, response),
    );
    this.writeDevice(this.#trusted[0]!);
    writeFileSync(path.join(this.directory, "ca.pem"), this.#own.certificate);
  }

  static async start(t: CleanUp): Promise<IotCredentialServer> {
    const server = new IotCredentialServer();
    t.after(async () => {
      await server.close();
      rmSync(server.directory, { recursive: true, force: true });
    });
    await server.listen();
    return server;
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject).listen(this.#port, "127.0.0.1", resolve);
    });
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Cuts every connection and takes no new ones. */
  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  get settings(): IotCredentialSettings {
    const file = (name: string): string => path.join(this.directory, name);
    return {
      endpoint: `localhost:${this.#port}`,
      roleAlias: ROLE_ALIAS,
      certificate: file("device.pem"),
      key: file("device.key"),
      authorities: file("ca.pem"),
      thingName: undefined,
    };
  }

  /** Another certificate that the server knows, as after a rotation. */
  trustAnother(): TestCertificate {
    const certificate = makeCertificate({ commonName: `device ${this.#trusted.length + 1}` });
    this.#trusted.push(certificate);
    this.#server.setSecureContext({ cert: this.#own.certificate, key: this.#own.key, ...this.#trust() });
    return certificate;
  }

  /** Puts it where the device's certificate and key are. */
  writeDevice({ certificate, key }: TestCertificate): void {
    writeFileSync(path.join(this.directory, "device.pem"), certificate);
    writeFileSync(path.join(this.directory, "device.key"), key, { mode: 0o600 });
  }

  #trust(): { ca: string[] } {
    return { ca: this.#trusted.map(({ certificate }) => certificate) };
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    assert.ok(socket instanceof TLSSocket);
    const { fingerprint256: fingerprint } = socket.getPeerCertificate();
    const thingName = request.headers["x-amzn-iot-thingname"]?.toString();
    const count = this.requests.push({ url: request.url ?? "", thingName, fingerprint });
    if (this.answer !== undefined) {
      this.answer(request, response);
      return;
    }
    if (request.url !== `/role-aliases/${ROLE_ALIAS}/credentials`) {
      response.writeHead(404, { "content-type": "application/json" });
      response.end('{"message":"Role alias does not exist"}');
      return;
    }
    const credentials = {
      accessKeyId: `ASIATEST${count}`,
      secretAccessKey: `${SECRET_MARK}-key-${count}`,
      sessionToken: `${SECRET_MARK}-token-${count}`,
      expiration: new Date(Date.now() + this.lifeMs).toISOString(),
    };
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ credentials }));
  }
}
