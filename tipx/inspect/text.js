// Text that is safe to look at; shown.py does the same. Nothing here or elsewhere makes HTML from data: text nodes only.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e0fff}]|\p{Surrogate}/gu;
const SYMBOLS = { '\n': '↵\n', '\t': '⇥', '\u007f': '␡' };

function visible(text) {
  return text.replace(HIDDEN, (c) => {
    const code = c.codePointAt(0);
    if (SYMBOLS[c]) return SYMBOLS[c];
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : `⟨U+${code.toString(16).toUpperCase().padStart(4, '0')}⟩`;
  }) || '∅';
}

// Values a person can compare: four digits, small ones in powers of ten.
function number(x) {
  if (!Number.isFinite(x)) return String(x);
  const size = Math.abs(x);
  if (size !== 0 && size < 0.001) return x.toExponential(2);
  return x.toFixed(size < 10 ? 4 : 3);
}

const percent = (x) => `${(100 * x).toFixed(1)}%`;

// An element with a class, text, and children.
function make(tag, name = '', text = null, ...children) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== null) node.textContent = text;
  node.append(...children);
  return node;
}

const $ = (id) => document.getElementById(id);
