// What the core asks of JavaScript values (client-wasm/src/value.rs). Nothing here throws: a getter or a proxy of the page's
// may, and no exception passes through the core.

const attempt = (fn) => {
  try {
    return fn();
  } catch {
    return undefined;
  }
};

export const parse = (text) => attempt(() => JSON.parse(text));

/** With `escape`, characters above U+FFFF are `\uXXXX` escapes, which every pomelo client and server reads. */
export const stringify = (value, escape) => attempt(() => {
  const text = JSON.stringify(value);
  return escape ? text?.replace(/[\ud800-\udfff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16)}`) : text;
});

const isList = (value) => Array.isArray(value) || ArrayBuffer.isView(value);

/** An index of `value::Kind`. Undefined, functions and symbols are absent, as in JSON. */
export const kind = (value) => {
  switch (typeof value) {
    case 'boolean': return value ? 3 : 2;
    case 'number': return 4;
    case 'string': return 5;
    case 'object': return value === null ? 1 : isList(value) ? 6 : 7;
    default: return 0;
  }
};

export const get = (value, name) => attempt(() => value[name]);
export const set = (value, name, member) => attempt(() => { value[name] = member; });
const encoder = new TextEncoder();
/** The bytes of a text; undefined for anything else. */
export const utf8 = (text) => (typeof text === 'string' ? encoder.encode(text) : undefined);
export const truthy = Boolean;
export const number = Number;

/** The elements of a list; names and values of an object in turn. */
export const parts = (value) => (isList(value)
  ? Array.from({ length: value.length }, (_, index) => get(value, index))
  : (attempt(() => Object.keys(value)) ?? []).flatMap((name) => [name, get(value, name)]));

export const list = (...elements) => elements;
export const push = (elements, element) => { elements.push(element); };

/** The object with these names and values in turn, also if one is called `__proto__`. */
export const object = (named) => Object.fromEntries(named.flatMap((name, index) => (index % 2 ? [] : [[name, named[index + 1]]])));
