/** HTML or SVG text that is safe to stand in a page as it is. */
export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

type Piece = Markup | string | number | undefined | readonly Piece[];

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** A template whose pieces are escaped, but for those that are markup: what comes from a file can never become an element. */
export function markup(strings: TemplateStringsArray, ...pieces: readonly Piece[]): Markup {
  const parts = strings.flatMap((text, index) => [text, index < pieces.length ? textOf(pieces[index]) : ""]);
  return new Markup(parts.join(""));
}

function textOf(piece: Piece): string {
  if (piece === undefined) return "";
  if (piece instanceof Markup) return piece.text;
  if (typeof piece === "string") return piece.replace(/[&<>"']/g, (character) => entities[character]!);
  if (typeof piece === "number") return String(Math.round(piece * 100) / 100);
  return piece.map(textOf).join("");
}
