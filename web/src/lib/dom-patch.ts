/**
 * Makes the children of `target` equal to those of `wanted`, touching only what differs, so that a growing answer keeps
 * its text selection, focus and the scroll position of its code blocks. Nodes of `wanted` may be moved out of it.
 */
export function patchChildren(target: Node, wanted: Node): void {
  let have = target.firstChild;
  let want = wanted.firstChild;
  while (want) {
    const nextWant = want.nextSibling;
    if (!have) {
      target.appendChild(want);
    } else {
      const nextHave: ChildNode | null = have.nextSibling;
      if (!patchNode(have, want)) target.replaceChild(want, have);
      have = nextHave;
    }
    want = nextWant;
  }
  while (have) {
    const next: ChildNode | null = have.nextSibling;
    have.remove();
    have = next;
  }
}

function patchNode(have: Node, want: Node): boolean {
  if (have.nodeType !== want.nodeType || have.nodeName !== want.nodeName) return false;
  if (!(have instanceof Element) || !(want instanceof Element)) {
    if (have.nodeValue !== want.nodeValue) growText(have, want.nodeValue ?? '');
    return true;
  }
  for (const { name } of [...have.attributes]) if (!want.hasAttribute(name)) have.removeAttribute(name);
  for (const { name, value } of want.attributes)
    if (have.getAttribute(name) !== value) have.setAttribute(name, value);
  patchChildren(have, want);
  return true;
}

/** Appending keeps a selection inside the text; assigning the whole value would drop it. */
function growText(node: Node, text: string): void {
  if (node instanceof Text && text.startsWith(node.data)) node.appendData(text.slice(node.length));
  else node.nodeValue = text;
}
