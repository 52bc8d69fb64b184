import type {
  ExporterDescription,
  LedgerDescription,
  LossDescription,
  StreamDescription,
} from "../core/stream-description.ts";
import type { MessageTotals } from "../core/stream-ledger.ts";
import { formatBytes, formatTable, formatTime } from "./table.ts";

/** Who has an account: the stream, and each of its exporters. */
interface Holder {
  readonly name: string;
  readonly accounts: Readonly<Record<string, MessageTotals | undefined>>;
}

/** Rows in the order in which they are read; those beneath `appended` add up to it. */
const rows: readonly (readonly [string, string])[] = [
  ["appended", "appended"],
  ["rewound", "sent again"],
  ["stored", "stored"],
  ["exported", "exported"],
  ["pending", "pending"],
  ["overwritten", "overwritten"],
  ["expired", "expired"],
  ["deleted", "freed"],
  ["setAside", "set aside"],
  ["damaged", "damaged"],
  ["skipped", "skipped"],
];
const ALWAYS = new Set(["appended", "stored", "exported", "pending"]);
/** Side by side; more make another table, so that lines stay readable. */
const HOLDERS_PER_TABLE = 4;

/** Where every message went, of the stream and for each exporter: messages and payload bytes. */
export function formatAccounts({ ledger, exporters }: StreamDescription): string {
  const holders: Holder[] = [
    { name: "stream", accounts: ledgerAccounts(ledger) },
    ...exporters.map((exporter) => ({ name: exporter.identifier, accounts: exporterAccounts(exporter) })),
  ];
  const tables: string[] = [];
  for (let at = 0; at < holders.length; at += HOLDERS_PER_TABLE) {
    tables.push(formatHolders(holders.slice(at, at + HOLDERS_PER_TABLE)));
  }
  return tables.join("\n\n");
}

function formatHolders(holders: readonly Holder[]): string {
  const isShown = (key: string): boolean =>
    holders.some(({ accounts }) => {
      const totals = accounts[key];
      return totals !== undefined && (ALWAYS.has(key) || totals.messages !== 0 || totals.payloadBytes !== 0);
    });
  const cells = rows
    .filter(([key]) => isShown(key))
    .map(([key, title]) => [title, ...holders.flatMap(({ accounts }) => totalsCells(accounts[key]))]);
  const head = ["account", ...holders.flatMap(({ name }) => [name, "bytes"])];
  return formatTable(head, cells, { right: holders.flatMap((_, index) => [1 + 2 * index, 2 + 2 * index]) });
}

function totalsCells(totals: MessageTotals | undefined): [string | number, string] {
  return totals === undefined ? ["", ""] : [totals.messages, formatBytes(totals.payloadBytes)];
}

function ledgerAccounts(ledger: LedgerDescription): Holder["accounts"] {
  const { appended, stored, overwritten, expired, deleted, damaged } = ledger;
  return { appended, stored, overwritten, expired, deleted, damaged };
}

function exporterAccounts(exporter: ExporterDescription): Holder["accounts"] {
  const { appended, rewound, exported, pending } = exporter;
  const { overwritten, expired, deleted, setAside, damaged, skipped } = exporter;
  const gone = { overwritten, expired, deleted, setAside, damaged, skipped };
  return { appended, rewound, exported, pending, ...gone };
}

/** Ranges that are gone, with reason and time; empty if there are none. */
export function formatLosses({ ledger, exporters }: StreamDescription): string {
  const losses: [string, LossDescription][] = [...ledger.drops, ...ledger.damage].map((loss) => [
    "stream",
    loss,
  ]);
  for (const { identifier, losses: own } of exporters) {
    // What the stream itself lost stands there already.
    for (const loss of own) if (ownReasons.has(loss.reason)) losses.push([identifier, loss]);
  }
  if (losses.length === 0) return "";
  const cells = losses.map(([holder, { reason, fromSequence, toSequence, payloadBytes, timeMs }]) => [
    reasonTitles[reason] ?? reason,
    fromSequence,
    toSequence - 1,
    formatBytes(payloadBytes),
    formatTime(timeMs),
    holder,
  ]);
  return formatTable(["gone", "from", "to", "bytes", "time", "of"], cells, { right: [1, 2, 3] });
}

const ownReasons = new Set(["setAside", "skipped"]);
const reasonTitles: Readonly<Record<string, string | undefined>> = {
  deleted: "freed",
  setAside: "set aside",
};
