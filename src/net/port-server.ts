import type { AddressInfo, Server } from "node:net";
import { assert } from "../core/assert.ts";
import { MillraceError, systemCode } from "../core/errors.ts";
import { EventName } from "../observe/events.ts";
import { type ListeningServer, type ListeningServerOptions, openServer } from "./listening-server.ts";

export interface PortServerOptions extends ListeningServerOptions {
  readonly host: string;
  /** 0 takes any free port, the same one whenever it is taken again. */
  readonly port: number;
}

/** A port of an address. */
export class PortServer implements ListeningServer {
  readonly #options: PortServerOptions;
  #server: Server | undefined;
  #bound: AddressInfo | undefined;

  constructor(options: PortServerOptions) {
    this.#options = options;
  }

  get address(): AddressInfo {
    assert(this.#bound !== undefined, "the port listens");
    return this.#bound;
  }

  async listen(): Promise<void> {
    const { host, logger } = this.#options;
    const port = this.#bound?.port ?? this.#options.port;
    try {
      this.#server = await openServer(this.#options, { host, port });
    } catch (cause) {
      const code = systemCode(cause);
      const reason = code === "EADDRINUSE" ? "the port is taken" : (code ?? String(cause));
      throw new MillraceError("INVALID_SETTING", `Cannot listen on ${host}:${port}: ${reason}`, { cause });
    }
    this.#bound = this.#server.address() as AddressInfo;
    logger.info(EventName.PortListening, { address: this.#bound.address, port: this.#bound.port });
  }

  close(): void {
    this.#server?.close();
  }
}
