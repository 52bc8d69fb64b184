import { systemCode } from "../../core/errors.ts";
import { inspectCursor } from "../../export/cursor-file.ts";
import type { Storage } from "../../log/storage.ts";
import type { CursorPlace, CursorVerdict } from "../../stream/stream-directory-verifier.ts";

/** What an exporter's cursor file is worth. */
export function checkCursor(storage: Storage, place: CursorPlace): CursorVerdict {
  let found: ReturnType<typeof inspectCursor>;
  try {
    found = inspectCursor(storage, place);
  } catch (error) {
    const text = `cannot be read (${systemCode(error) ?? "error"})`;
    return { provenEndSequence: 0, problem: { severity: "unreadable", text } };
  }
  const { record, slots } = found;
  const damaged = slots.filter(({ state }) => state === "damaged").map(({ offset }) => offset);
  const provenEndSequence = record?.position ?? 0;
  if (damaged.length === 0) return { provenEndSequence };
  const where = damaged.map((offset) => `at ${offset}`).join(" and ");
  return record === undefined
    ? {
        provenEndSequence,
        problem: {
          severity: "damage",
          text: `no slot is whole and this stream's (${where}): the exporter begins again with the oldest message`,
        },
      }
    : {
        provenEndSequence,
        problem: { severity: "torn", text: `the slot ${where} is damaged; the other one holds` },
      };
}
