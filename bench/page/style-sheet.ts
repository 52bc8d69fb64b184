import { COLOR_COUNT, DASH_COUNT, SWITCHED_SERIES_MAX } from "./legend.ts";

const lightColors = [
  "#1f6feb",
  "#d9480f",
  "#2b8a3e",
  "#862e9c",
  "#c2255c",
  "#0b7285",
  "#8a6d00",
  "#495057",
  "#5f3dc4",
  "#a61e4d",
] as const;
const darkColors = [
  "#6cb6ff",
  "#ff9e64",
  "#69db7c",
  "#da9cf0",
  "#ff8fb1",
  "#66d9e8",
  "#e6c84c",
  "#b4bcc6",
  "#a99bff",
  "#ff7b90",
] as const;
const dashes = ["none", "7 4", "2 3", "10 3 2 3"] as const;

function colorVariables(colors: readonly string[]): string {
  return colors.map((color, index) => `--c${index}:${color}`).join(";");
}

function numbered(count: number, rule: (index: number) => string): string {
  return Array.from({ length: count }, (_, index) => rule(index)).join("\n");
}

/** Of the whole page: light or dark as the reader's system is, and as narrow as a telephone. */
export const styleSheet = `
:root{color-scheme:light dark;--back:#fff;--text:#1c2128;--faint:#59636e;--line:#d8dee4;--soft:#f4f6f8;--warn:#9a3412;${colorVariables(lightColors)}}
@media (prefers-color-scheme:dark){:root{--back:#15181d;--text:#e2e6ea;--faint:#9aa4af;--line:#343b44;--soft:#1e232a;--warn:#ffb86b;${colorVariables(darkColors)}}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1180px;padding:24px 20px 60px;background:var(--back);color:var(--text);font:15px/1.5 system-ui,sans-serif}
h1{font-size:26px;margin:0 0 8px}
h2{font-size:21px;margin:44px 0 8px;padding-top:14px;border-top:2px solid var(--line)}
h3{font-size:17px;margin:34px 0 4px}
h4{font-size:15px;margin:18px 0 6px;overflow-wrap:anywhere}
p{max-width:76ch;margin:4px 0 12px;color:var(--faint)}
.warning{color:var(--warn);font-weight:600}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13px}
th,td{padding:5px 7px;border-bottom:1px solid var(--line);text-align:right;vertical-align:bottom}
td{white-space:nowrap}
th{font-weight:600;color:var(--faint);line-height:1.25}
thead th{border-bottom-width:2px}
tbody th,th.name{text-align:left;color:var(--text);font-weight:500;min-width:150px;max-width:290px}
tbody th{overflow-wrap:anywhere;position:sticky;left:0;background:var(--back);vertical-align:top}
.swept th.name,.swept tbody th{min-width:230px}
tr.next td{border-bottom-color:transparent}
.environment td,.environment th{text-align:left;vertical-align:top}
.environment td{white-space:normal;overflow-wrap:anywhere}
.environment .differs td{background:var(--soft);color:var(--warn)}
dl{display:grid;grid-template-columns:minmax(120px,auto) 1fr;gap:4px 18px;font-size:14px;max-width:100ch}
dt{font-family:ui-monospace,monospace;font-size:13px;overflow-wrap:anywhere}
dd{margin:0;color:var(--faint)}
details{margin:10px 0}
summary{cursor:pointer;font-weight:600;padding:4px 0}
.plot{margin:8px 0 20px}
.plot svg[role]{display:block;width:100%;background:var(--back)}
.latency svg[role]{min-width:560px;max-width:1000px}
.small-plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(340px,100%),1fr));gap:4px 20px}
.small-plots .plot{min-width:0;max-width:560px}
.grid{stroke:var(--line);stroke-width:1}
.tick{fill:var(--faint);font-size:12px}
.axis,.figure{fill:var(--text);font-size:12.5px}
.figure{font-weight:600}
.series polyline{fill:none;stroke:var(--k);stroke-width:2;stroke-linejoin:round;stroke-dasharray:var(--d)}
.series:hover polyline{stroke-width:4}
.spot{fill:transparent}
.spot:hover{fill:var(--k)}
.end{fill:var(--k)}
.round{fill:var(--k);opacity:.45}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px;margin-top:6px}
.legend label{display:flex;align-items:center;gap:6px;cursor:pointer;overflow-wrap:anywhere}
.legend input{margin:0;accent-color:var(--k)}
.legend .unit{font-weight:600}
.swatch{width:26px;height:10px;flex:none}
.swatch line{stroke:var(--k);stroke-width:3;stroke-dasharray:var(--d)}
.block{display:inline-block;width:12px;height:12px;margin-right:6px;border-radius:2px;background:var(--k);vertical-align:-1px}
.bars,.rounds,.ratios{max-width:1000px;padding:0 26px 0 2px}
.row{margin:0 0 7px}
.label{display:flex;justify-content:space-between;gap:14px;font-size:13px;line-height:1.35}
.label span{overflow-wrap:anywhere}
.label b{flex:none;font-variant-numeric:tabular-nums;font-weight:600;max-width:55%;text-align:right}
.track{position:relative;background:var(--soft);border-radius:3px}
.bar{height:15px;display:flex;overflow:hidden}
.segment{background:var(--k);height:100%;z-index:1;box-shadow:inset -1px 0 var(--back)}
.dots{height:20px}
.dot{position:absolute;width:7px;height:7px;margin:-3.5px;border-radius:50%;background:var(--k);opacity:.75}
.ratios .dot{width:11px;height:11px;margin:-5.5px;opacity:1}
.line{position:absolute;top:0;bottom:0;width:1px;background:var(--line)}
.middle{position:absolute;top:0;bottom:0;width:2px;margin-left:-1px;background:var(--k)}
.one{position:absolute;top:-2px;bottom:-2px;width:2px;margin-left:-1px;background:var(--text)}
.ticks{position:relative;height:20px;font-size:12px;color:var(--faint)}
.ticks span{position:absolute;transform:translateX(-50%);white-space:nowrap}
.ticks span:first-child{transform:none}
@media (max-width:600px){body{padding:16px 12px 40px}dl{grid-template-columns:1fr}dd{margin-bottom:6px}.ticks span:nth-child(even){display:none}tbody th{max-width:150px;min-width:120px}}
${numbered(COLOR_COUNT, (index) => `.c${index}{--k:var(--c${index})}`)}
${numbered(DASH_COUNT, (index) => `.d${index}{--d:${dashes[index]!}}`)}
${numbered(SWITCHED_SERIES_MAX, (index) => `.plot:has(input.s${index}:not(:checked)) g.s${index}{display:none}`)}
`;
