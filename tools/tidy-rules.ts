import path from "node:path";
import ts from "typescript";
import {
  barrels,
  FILE_LINES_MAX,
  folderImports,
  forbiddenNames,
  importExceptions,
  ownedMembers,
  ownedModules,
  ruleTexts,
  shippedFolders,
  TEST_FILE_LINES_MAX,
  WORKER_ENTRY_LINES_MAX,
  type Ownership,
} from "./tidy-tables.ts";

/** One broken rule. `line` starts at 1. */
export interface Finding {
  readonly file: string;
  readonly line: number;
  readonly rule: string;
  readonly message: string;
}

/** A source tree: path from the root with forward slashes, to text. */
export type SourceTree = ReadonlyMap<string, string>;

interface ModuleImport {
  readonly specifier: string;
  readonly line: number;
  /** Whether the file cannot be loaded without the module: neither a type nor an import on use. */
  readonly isNeeded: boolean;
}

interface ParsedFile {
  readonly file: string;
  readonly text: string;
  readonly lines: readonly string[];
  readonly source: ts.SourceFile;
  readonly imports: readonly ModuleImport[];
}

/** Checks every TypeScript file of the tree. The findings come sorted by file and line. */
export function checkTree(tree: SourceTree): Finding[] {
  const findings: Finding[] = [];
  const shipped = shippedPackages(tree);
  const parsed = [...tree].filter(([file]) => file.endsWith(".ts")).map(([file, text]) => parse(file, text));
  for (const file of parsed) {
    findings.push(
      ...checkName(file),
      ...checkText(file),
      ...checkLength(file),
      ...checkSyntax(file, tree),
      ...checkImports(file, tree),
      ...checkShipped(file, shipped),
    );
  }
  findings.push(...checkCycles(parsed));
  return findings.sort((a, b) => a.file.localeCompare(b.file) || a.line - b.line);
}

function parse(file: string, text: string): ParsedFile {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2023, true);
  const imports: ModuleImport[] = [];
  visit(source, (node) => {
    const specifier = importSpecifier(node);
    if (specifier !== undefined) {
      imports.push({ specifier: specifier.text, line: lineOf(source, specifier), isNeeded: isNeeded(node) });
    }
  });
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return { file, text, lines, source, imports };
}

function visit(node: ts.Node, see: (node: ts.Node) => void): void {
  see(node);
  ts.forEachChild(node, (child) => visit(child, see));
}

function lineOf(source: ts.SourceFile, node: ts.Node): number {
  return source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;
}

/** The module that a node names: `import`, `export … from`, `import("x")`, and `import("x").Type`. */
function importSpecifier(node: ts.Node): ts.StringLiteralLike | undefined {
  let named: ts.Node | undefined;
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) named = node.moduleSpecifier;
  else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) named = node.argument.literal;
  else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
    named = node.arguments[0];
  }
  return named !== undefined && ts.isStringLiteralLike(named) ? named : undefined;
}

function isNeeded(node: ts.Node): boolean {
  if (ts.isImportDeclaration(node)) return node.importClause?.phaseModifier !== ts.SyntaxKind.TypeKeyword;
  return ts.isExportDeclaration(node) && !node.isTypeOnly;
}

/** An entry ending with a slash stands for everything below it. */
function owns(owners: readonly string[], file: string): boolean {
  return owners.some((owner) => (owner.endsWith("/") ? file.startsWith(owner) : file === owner));
}

function checkName({ file }: ParsedFile): Finding[] {
  const findings: Finding[] = [];
  const stem = path.posix.basename(file).replace(/(\.test|\.d)?\.ts$/, "");
  const report = (message: string) => findings.push({ file, line: 1, rule: "file-name", message });
  for (const part of [...path.posix.dirname(file).split("/"), stem]) {
    if (forbiddenNames.includes(part)) {
      report(`"${part}" says nothing about the content: name the file after its main export`);
    } else if (part !== "." && !/^[a-z0-9]+(-[a-z0-9]+)*$/.test(part)) {
      report(`"${part}" is not kebab-case: rename it`);
    }
  }
  if (stem === "index" && !barrels.includes(file)) {
    report("index.ts is a barrel: import the file that has what you need");
  }
  return findings;
}

function checkText({ file, lines }: ParsedFile): Finding[] {
  const findings: Finding[] = [];
  const namesRules = ruleTexts.some((prefix) => file.startsWith(prefix));
  for (const [index, text] of lines.entries()) {
    const line = index + 1;
    if (/[ \t]$/.test(text) || /^ *\t/.test(text)) {
      findings.push({ file, line, rule: "whitespace", message: "tab or trailing blank: run prettier" });
    }
    const open = /\b(TODO|FIXME|XXX)\b/.exec(text);
    if (open !== null && !namesRules) {
      const message = `${open[0]} is unfinished work: finish it, or state the limitation as a fact`;
      findings.push({ file, line, rule: "unfinished", message });
    }
  }
  return findings;
}

function checkLength({ file, lines }: ParsedFile): Finding[] {
  const isTest = file.startsWith("test/");
  const isWorkerEntry = file.startsWith("src/") && file.endsWith("-worker.ts");
  if (isWorkerEntry && lines.length >= WORKER_ENTRY_LINES_MAX) {
    const message = `${lines.length} lines: a thread's entry stays under ${WORKER_ENTRY_LINES_MAX}, move the work to its agent`;
    return [{ file, line: 1, rule: "worker-entry", message }];
  }
  const most = isTest ? TEST_FILE_LINES_MAX : FILE_LINES_MAX;
  if (lines.length <= most) return [];
  const message = `${lines.length} lines, at most ${most}: look for the second thing in it`;
  return [{ file, line: most + 1, rule: "file-length", message }];
}

function checkSyntax({ file, source }: ParsedFile, tree: SourceTree): Finding[] {
  const findings: Finding[] = [];
  const inSource = file.startsWith("src/");
  const report = (node: ts.Node, rule: string, message: string) =>
    findings.push({ file, line: lineOf(source, node), rule, message });
  visit(source, (node) => {
    if (ts.isEnumDeclaration(node)) {
      report(node, "enum", "no enum: write a const object and a type of the same name");
    }
    if (ts.isExportDeclaration(node) && node.moduleSpecifier && inSource && !barrels.includes(file)) {
      report(node, "barrel", "no re-export: let the importer name the file that has it");
    }
    if (!inSource) return;
    const entry = entryUrl(node);
    if (entry !== undefined && !tree.has(resolve(file, entry.replace(/\.js$/, ".ts")))) {
      report(node, "entry", `"${entry}" leads to no source file: tsc does not check run-time paths`);
    }
    if (ts.isPropertyAccessExpression(node) || ts.isElementAccessExpression(node)) {
      reportMember(node, report, file);
    }
    if (ts.isNewExpression(node) && node.expression.getText(source) === "Date" && !node.arguments?.length) {
      if (file !== "src/core/clock.ts") report(node, "owner", "new Date() reads the time: take a Clock");
    }
  });
  return findings;
}

/** The path of `new URL("./x-worker.js", import.meta.url)`. */
function entryUrl(node: ts.Node): string | undefined {
  if (!ts.isNewExpression(node) || node.expression.getText() !== "URL") return undefined;
  const [specifier, base] = node.arguments ?? [];
  if (specifier === undefined || base?.getText() !== "import.meta.url") return undefined;
  const isEntry = ts.isStringLiteralLike(specifier) && /^\.\.?\/.*\.js$/.test(specifier.text);
  return isEntry ? specifier.text : undefined;
}

function reportMember(
  node: ts.PropertyAccessExpression | ts.ElementAccessExpression,
  report: (node: ts.Node, rule: string, message: string) => void,
  file: string,
): void {
  if (!ts.isIdentifier(node.expression)) return;
  const base = node.expression.text;
  if (base === "console") {
    report(node, "console", "no console in src: log, or write through the command's output");
    return;
  }
  const name = ts.isPropertyAccessExpression(node)
    ? node.name.text
    : ts.isStringLiteralLike(node.argumentExpression)
      ? node.argumentExpression.text
      : "";
  const rule = ownedMembers.find(({ what }) => what === `${base}.${name}`);
  if (rule && !owns(rule.owners, file)) report(node, "owner", ownerMessage(rule));
}

function ownerMessage({ what, owners, hint }: Ownership): string {
  return `${what} belongs to ${owners.join(", ")}: ${hint}`;
}

function checkImports({ file, imports }: ParsedFile, tree: SourceTree): Finding[] {
  const findings: Finding[] = [];
  for (const { specifier, line } of imports) {
    const message = specifier.startsWith(".")
      ? relativeImportProblem(file, specifier, tree)
      : file.startsWith("src/")
        ? packageImportProblem(file, specifier)
        : undefined;
    if (message !== undefined) findings.push({ file, line, rule: "import", message });
  }
  return findings;
}

function relativeImportProblem(file: string, specifier: string, tree: SourceTree): string | undefined {
  const target = resolve(file, specifier);
  if (!specifier.endsWith(".ts")) {
    // Programs of plain JavaScript, such as tools/build.mjs, are imported as they are.
    return /\.(mjs|json)$/.test(specifier) ? undefined : `"${specifier}": name the file with its .ts suffix`;
  }
  if (!tree.has(target)) return `"${specifier}" leads to ${target}, which does not exist`;
  if (file.startsWith("bench/") && target.startsWith("test/")) {
    return `bench must not import ${target}: the package holds benches, and no tests`;
  }
  if (!file.startsWith("src/")) return undefined;
  if (isExcepted(file, target)) return undefined;
  if (!target.startsWith("src/")) return `src must not import ${target}: what ships does not need it`;
  const source = folderOf(file);
  const wanted = folderOf(target);
  if (source === undefined || source === wanted) return undefined;
  const allowed = folderImports.get(source);
  if (allowed === undefined) return `src/${source}/ is not in the import table of tools/tidy-tables.ts`;
  if (wanted !== undefined && allowed.includes(wanted)) return undefined;
  const list = allowed.length === 0 ? "nothing" : allowed.join(", ");
  const name = wanted === undefined ? `the root file ${target}` : `${wanted}/`;
  return `${source}/ must not import ${name}: it may import ${list}; declare what you need as an interface and let a root file of src/ join them`;
}

function isExcepted(file: string, target: string): boolean {
  return importExceptions.some(({ from, to }) => owns([from], file) && owns([to], target));
}

function packageImportProblem(file: string, specifier: string): string | undefined {
  const rule = ownedModules.find(({ what }) => specifier === what || specifier.startsWith(`${what}/`));
  return rule === undefined || owns(rule.owners, file) ? undefined : ownerMessage(rule);
}

/** The packages that an installation without development dependencies has; undefined in a tree without package.json. */
function shippedPackages(tree: SourceTree): ReadonlySet<string> | undefined {
  const text = tree.get("package.json");
  if (text === undefined) return undefined;
  const { dependencies, optionalDependencies } = JSON.parse(text) as Record<string, Record<string, string>>;
  return new Set(Object.keys({ ...dependencies, ...optionalDependencies }));
}

function checkShipped({ file, imports }: ParsedFile, shipped: ReadonlySet<string> | undefined): Finding[] {
  if (shipped === undefined || !owns(shippedFolders, file)) return [];
  return imports
    .filter(({ specifier, isNeeded }) => isNeeded && !/^(\.|node:)/.test(specifier))
    .filter(({ specifier }) => !shipped.has(/^(@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? specifier))
    .map(({ specifier, line }) => {
      const message = `"${specifier}" is not among the dependencies of package.json: an installed package lacks it`;
      return { file, line, rule: "dependency", message };
    });
}

function resolve(file: string, specifier: string): string {
  return path.posix.join(path.posix.dirname(file), specifier);
}

/** The folder of src/ that a file is in; undefined for the root files. */
function folderOf(file: string): string | undefined {
  const parts = file.split("/");
  return parts.length > 2 ? parts[1] : undefined;
}

/** Reports each import that closes a cycle, once, with the whole way round. */
function checkCycles(parsed: readonly ParsedFile[]): Finding[] {
  const byFile = new Map(parsed.map((file) => [file.file, file]));
  const done = new Set<string>();
  const findings: Finding[] = [];
  const walk = (file: ParsedFile, trail: readonly string[]): void => {
    if (done.has(file.file)) return;
    const here = [...trail, file.file];
    for (const { specifier, line } of file.imports) {
      if (!specifier.startsWith(".")) continue;
      const target = resolve(file.file, specifier);
      const start = here.indexOf(target);
      if (start >= 0) {
        const round = [...here.slice(start), target].join(" -> ");
        const message = `import cycle ${round}: move what both need into a file of its own`;
        findings.push({ file: file.file, line, rule: "cycle", message });
        continue;
      }
      const next = byFile.get(target);
      if (next !== undefined) walk(next, here);
    }
    done.add(file.file);
  };
  for (const file of parsed) walk(file, []);
  return findings;
}
