import { MillraceError } from "../../core/errors.ts";
import {
  exportCommandNames,
  type ExportCommand,
  type ExportCommandName,
  type ExportCommandResult,
} from "../../core/export-command.ts";
import { shown } from "../../core/option-fields.ts";
import { Operation } from "../../wire/operation.ts";
import type { StreamDocumentRequest } from "../../wire/stream-document-layout.ts";
import type { ClientState } from "../client-state.ts";
import { inTime } from "../answer-deadline.ts";
import { answerDocument, parseDocument } from "../document-request.ts";
import type { EngineContext } from "../engine-context.ts";
import { redriveSetAside } from "../redrive.ts";
import type { StreamEntry } from "../stream-entry.ts";

/** CommandExports (79): has the exporters of a stream do something out of turn. */
export async function handleCommandExports(
  engine: EngineContext,
  client: ClientState,
  { requestId, name, document }: StreamDocumentRequest,
): Promise<void> {
  const { command, exporter } = parseCommand(document);
  const entry = engine.catalog.get(name);
  let result: ExportCommandResult;
  if (command === "retry") {
    result = { exporters: retry(engine, entry, exporter) };
  } else {
    // A companion may be named too; what is sent again is of its stream.
    client.assertAllowed("manage", entry.options.companionOf ?? name);
    const redriving = redriveSetAside(engine, name, exporter);
    const redrive = await inTime(engine.timers, `The redrive of stream "${name}"`, redriving);
    result = { exporters: redrive.exporters.map(({ identifier }) => identifier), redrive };
  }
  answerDocument(client, Operation.CommandExports, { requestId, document: JSON.stringify(result) });
}

function retry(
  { exports }: EngineContext,
  { streamId, definition: { name } }: StreamEntry,
  identifier: string | undefined,
): readonly string[] {
  const all = exports.states(streamId);
  const meant = identifier === undefined ? all : all.filter((one) => one.identifier === identifier);
  const refuse = (why: string): MillraceError =>
    new MillraceError("INVALID_REQUEST", `Cannot retry exports of stream "${name}": ${why}`);
  if (identifier !== undefined && meant.length === 0) throw refuse(`it has no exporter ${shown(identifier)}`);
  const able = meant.filter(({ state }) => !cannotSend.has(state));
  if (identifier !== undefined && able.length === 0)
    throw refuse(`exporter ${shown(identifier)} is ${meant[0]!.state}, so it sends nothing`);
  for (const one of able) exports.retry(streamId, one.identifier);
  return able.map((one) => one.identifier);
}

const cannotSend: ReadonlySet<string> = new Set(["paused", "disabled"]);

/** @throws {MillraceError} INVALID_REQUEST */
function parseCommand(document: string): ExportCommand {
  const { command, exporter, ...others } = parseDocument(document);
  const [other] = Object.keys(others);
  if (other !== undefined) throw unreadable(`${shown(other)} is not known, only command and exporter`);
  if (!isCommand(command))
    throw unreadable(`command is ${shown(command)}, must be one of ${exportCommandNames.join(", ")}`);
  if (exporter === undefined) return { command };
  if (typeof exporter !== "string") throw unreadable(`exporter is ${shown(exporter)}, must be an identifier`);
  return { command, exporter };
}

function isCommand(value: unknown): value is ExportCommandName {
  return exportCommandNames.some((name) => name === value);
}

function unreadable(what: string): MillraceError {
  return new MillraceError("INVALID_REQUEST", `Cannot command exports: ${what}`);
}
