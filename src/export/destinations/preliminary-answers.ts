import type { ClientRequest } from "node:http";
import { EXPORT_INFORMATION_MAX } from "../../core/limits.ts";

/** What the other side answered was no answer. */
export class NoAnswer extends Error {}

/**
 * Has a request fail, by its `error` event, whose other side gives answers that are none: too many of status 1xx, or one that
 * goes over to another protocol. Node.js tells nobody of that one who does not ask, and such a request would never end.
 */
export function boundPreliminaryAnswers(request: ClientRequest): void {
  let preliminary = 0;
  request.on("information", () => {
    preliminary += 1;
    if (preliminary <= EXPORT_INFORMATION_MAX) return;
    request.destroy(new NoAnswer(`more than ${EXPORT_INFORMATION_MAX} answers that are none yet (1xx)`));
  });
  request.on("upgrade", ({ statusCode }, socket) => {
    socket.destroy();
    // The request is over for Node.js, and a destroyed one says nothing more.
    request.emit(
      "error",
      new NoAnswer(`answered ${statusCode} for another protocol, which was not asked for`),
    );
  });
}
