import type { Settings } from "../../config/schema.ts";
import type { Clock } from "../../core/clock.ts";
import { asMillraceError } from "../../core/errors.ts";
import { readNamedTokens } from "../../net/named-tokens.ts";
import { expiryWarning, readTlsMaterial } from "../../net/tls-files.ts";
import { readToken } from "../../net/token-store.ts";
import type { Remark } from "./verdict.ts";

/** What would keep an engine from letting its clients in: certificate and key, and the files of tokens, read as it reads them. */
export function judgeAccess(
  settings: Pick<Settings, "storeDirectory" | "authenticate" | "tlsCertificate" | "tlsKey">,
  clock: Clock,
): Remark[] {
  return [...judgeTls(settings, clock), ...(settings.authenticate ? judgeTokens(settings) : [])];
}

function judgeTls(
  { tlsCertificate: certificate, tlsKey: key }: Pick<Settings, "tlsCertificate" | "tlsKey">,
  clock: Clock,
): Remark[] {
  if (certificate === undefined || key === undefined) return [];
  try {
    const warning = expiryWarning(readTlsMaterial({ certificate, key }), clock.nowMs());
    return warning === undefined
      ? []
      : [{ kind: "advice", text: `the certificate ${certificate} ${warning}` }];
  } catch (thrown) {
    return [{ kind: "unfit", text: asMillraceError(thrown).message }];
  }
}

function judgeTokens({ storeDirectory }: Pick<Settings, "storeDirectory">): Remark[] {
  const remarks: Remark[] = [];
  try {
    readToken(storeDirectory);
  } catch (thrown) {
    remarks.push({ kind: "unfit", text: asMillraceError(thrown).message });
  }
  try {
    for (const { reason } of readNamedTokens(storeDirectory).unreadable) {
      remarks.push({ kind: "advice", text: `${reason}: its token lets nobody in` });
    }
  } catch (thrown) {
    remarks.push({ kind: "advice", text: `${asMillraceError(thrown).message}: no token beside the owner's` });
  }
  return remarks;
}
