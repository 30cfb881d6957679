/** A model card's Markdown as elements: headings, paragraphs, lists, tables, code, emphasis and links. Never as HTML. */

import { el } from "./dom.js";

/** @param {string} text @param {(name: string, alt: string) => Node | null} picture what stands for an image of that file name */
export function rendered(text, picture) {
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  const blocks = [];
  for (let at = 0; at < lines.length; ) {
    const take = (test) => {
      const begun = at;
      while (at < lines.length && test(lines[at])) at += 1;
      return lines.slice(begun, at);
    };
    const line = lines[at];
    if (!line.trim()) {
      at += 1;
    } else if (/^```/.test(line)) {
      at += 1;
      const code = take((each) => !/^```/.test(each));
      at += 1;
      blocks.push(el("pre", {}, code.join("\n")));
    } else if (/^#{1,6} /.test(line)) {
      const [, marks, title] = /^(#+) (.*)$/.exec(line);
      blocks.push(el(`h${Math.min(6, marks.length + 2)}`, {}, ...inline(title, picture)));
      at += 1;
    } else if (/^\|/.test(line)) {
      blocks.push(table(take((each) => /^\|/.test(each)), picture));
    } else if (/^\s*([-*]|\d+\.) /.test(line)) {
      const items = take((each) => /^\s*([-*]|\d+\.) /.test(each));
      const list = el(/^\s*\d/.test(line) ? "ol" : "ul");
      list.append(...items.map((item) => el("li", {}, ...inline(item.replace(/^\s*([-*]|\d+\.) /, ""), picture))));
      blocks.push(list);
    } else {
      const words = take((each) => each.trim() && !/^(#{1,6} |\||```|\s*([-*]|\d+\.) )/.test(each));
      blocks.push(el("p", {}, ...inline(words.join(" "), picture)));
    }
  }
  return blocks;
}

function table(lines, picture) {
  const rows = lines.map((line) => line.replace(/^\||\|\s*$/g, "").split("|").map((cell) => cell.trim()));
  const ruled = rows[1]?.every((cell) => /^:?-+:?$/.test(cell));
  const head = ruled ? rows[0] : null;
  const body = rows.slice(ruled ? 2 : 0);
  const row = (cells, tag) => el("tr", {}, ...cells.map((cell) => el(cell ? tag : "td", {}, ...inline(cell, picture))));
  return el(
    "div",
    { className: "scroll" },
    el("table", {}, head?.some(Boolean) && el("thead", {}, row(head, "th")), el("tbody", {}, ...body.map((cells) => row(cells, "td")))),
  );
}

const INLINE = /`([^`]+)`|!\[([^\]]*)\]\(([^)\s]+)\)|\[([^\]]+)\]\((https?:[^)\s]+)\)|\*\*([^*]+)\*\*|\*([^*]+)\*/g;

function inline(text, picture) {
  const parts = [];
  let last = 0;
  for (const match of text.matchAll(INLINE)) {
    const [all, code, alt, source, title, address, strong, emphasised] = match;
    parts.push(text.slice(last, match.index));
    last = match.index + all.length;
    if (code) parts.push(el("code", {}, code));
    else if (source) parts.push(picture(source, alt) ?? alt);
    else if (address) parts.push(el("a", { href: address, rel: "noreferrer noopener", target: "_blank" }, title));
    else parts.push(el(strong ? "strong" : "em", {}, strong ?? emphasised));
  }
  parts.push(text.slice(last));
  return parts.filter((part) => part !== "");
}
