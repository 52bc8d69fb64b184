import { STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { type DeadlineSweep, finishSocket } from "./deadline-sweep.ts";

export interface HttpRefusal {
  readonly status: number;
  readonly text: string;
  readonly headers?: readonly string[];
}

/** Answers over a socket that no HTTP server has, and ends the connection. */
export function refuseOverHttp(
  socket: Socket,
  { status, text, headers = [] }: HttpRefusal,
  lingering: { readonly sweep: DeadlineSweep; readonly deadlineMs: number },
): void {
  const body = `${text}\n`;
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}`,
    "Connection: close",
    "Content-Type: text/plain; charset=utf-8",
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...headers,
  ];
  socket.write(`${head.join("\r\n")}\r\n\r\n${body}`);
  finishSocket(socket, lingering);
}
