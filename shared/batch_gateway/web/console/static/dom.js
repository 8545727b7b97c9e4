// Elements as plain values, and the patching of the page towards them.
//
// h("a", { href: "#/x", onclick: f }, "text", h("b", null, "more")) is a value; patch(parent, [...])
// makes the parent's children look like such values. It keeps the elements that are there, so focus,
// selection and scroll positions stay. Text only ever becomes text nodes: no markup is parsed.

const KIDS = Symbol("the values that a parent's children were made of");
const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "path", "line", "rect", "circle", "text", "title", "polyline"]);
const AS_PROPERTY = new Set(["value", "checked", "indeterminate", "disabled", "selected"]);

/** A value for an element. `key` among the props keeps its identity among siblings; `ref` is called
 *  with the element once it is in the page. Children may be nested arrays; null and false are left out. */
export function h(tag, props, ...children) {
  return { tag, props: props ?? {}, key: props?.key ?? null, children: flat(children), node: null };
}

function flat(children) {
  const found = [];
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false || child === true) continue;
    found.push(typeof child === "object" ? child : { tag: "", text: String(child), key: null, node: null });
  }
  return found;
}

/** Make the children of `parent` those that `values` describe. */
export function patch(parent, values) {
  const refs = [];
  children(parent, flat([values]), refs);
  for (const [ref, node] of refs) ref(node);
}

function children(parent, next, refs) {
  const before = parent[KIDS] ?? [];
  const keyed = new Map();
  const rest = [];
  for (const value of before) {
    if (value.key !== null) keyed.set(value.key, value);
    else rest.push(value);
  }
  const used = new Set();
  let at = 0;
  for (const value of next) {
    let old;
    if (value.key !== null) {
      old = keyed.get(value.key);
    } else {
      while (at < rest.length && rest[at].tag !== value.tag) at += 1;
      old = rest[at];
      at += 1;
    }
    if (old && old.tag === value.tag && !used.has(old)) {
      used.add(old);
      change(old, value, refs);
    } else {
      value.node = made(value, refs);
    }
  }
  for (const value of before) if (!used.has(value)) drop(value.node);
  let place = parent.firstChild;
  for (const value of next) {
    if (value.node === place) place = place.nextSibling;
    else parent.insertBefore(value.node, place);
  }
  parent[KIDS] = next;
}

function drop(node) {
  if (node.nodeName === "DIALOG") node.close(); // gives the focus back
  node.remove();
}

function made(value, refs) {
  if (value.tag === "") return document.createTextNode(value.text);
  const node = SVG_TAGS.has(value.tag)
    ? document.createElementNS(SVG, value.tag)
    : document.createElement(value.tag);
  children(node, value.children, refs); // before the properties: a select's value needs its options
  for (const [name, given] of Object.entries(value.props)) set(node, name, given);
  if (value.props.ref) refs.push([value.props.ref, node]);
  return node;
}

function change(old, value, refs) {
  const node = old.node;
  value.node = node;
  if (value.tag === "") {
    if (old.text !== value.text) node.data = value.text;
    return;
  }
  children(node, value.children, refs);
  if (value.props.ref && !old.props.ref) refs.push([value.props.ref, node]);
  for (const name of Object.keys(old.props)) if (!(name in value.props)) set(node, name, null);
  for (const [name, given] of Object.entries(value.props)) {
    // What a user types stays until the page wants another value; all else is as the page says.
    if (given !== old.props[name] || (AS_PROPERTY.has(name) && name !== "value")) set(node, name, given);
  }
}

function set(node, name, given) {
  if (name === "key" || name === "ref") return;
  if (name.startsWith("on")) {
    node[name] = given ?? null;
  } else if (name === "style") {
    for (const [property, text] of Object.entries(given ?? {})) node.style.setProperty(property, text);
  } else if (AS_PROPERTY.has(name)) {
    const wanted = given ?? (name === "value" ? "" : false);
    if (node[name] !== wanted) node[name] = wanted;
  } else if (
    given === null ||
    given === undefined ||
    given === false ||
    (name === "href" && !harmless(given))
  ) {
    node.removeAttribute(name);
  } else {
    node.setAttribute(name, given === true ? "" : String(given));
  }
}

/** No link runs a script, wherever its target came from. */
function harmless(href) {
  return /^(#|\.{1,2}\/|https?:\/\/)/.test(String(href));
}
