import { MillraceError } from "../core/errors.ts";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();
/** Below this many bytes a loop over ASCII beats the call into TextDecoder. */
const SHORT_TEXT_BYTES = 48;

/** Decodes UTF-8. @throws {MillraceError} MALFORMED_FRAME for bytes that are not UTF-8 */
export function decodeText(bytes: Uint8Array, start: number, end: number): string {
  if (end - start <= SHORT_TEXT_BYTES) {
    let text = "";
    let at = start;
    for (; at < end; at++) {
      const byte = bytes[at]!;
      if (byte >= 0x80) break;
      text += String.fromCharCode(byte);
    }
    if (at === end) return text;
  }
  try {
    return decoder.decode(bytes.subarray(start, end));
  } catch (cause) {
    throw new MillraceError(
      "MALFORMED_FRAME",
      `Cannot decode text: the ${end - start} bytes at ${start} are not UTF-8`,
      {
        cause,
      },
    );
  }
}

export function encodeText(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Encodes at most `bytesMax` bytes of `text`, cut between characters. For error texts, which may be long. */
export function encodeTextCut(text: string, bytesMax: number): Uint8Array {
  // A UTF-16 unit takes at most 3 bytes; encodeInto stops at the last character that fits whole.
  const target = new Uint8Array(Math.min(bytesMax, text.length * 3));
  return target.subarray(0, encoder.encodeInto(text, target).written);
}
