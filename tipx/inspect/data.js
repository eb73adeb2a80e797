// The page's data: `H` the header, `C` columns by name as typed arrays, one entry a token.
let H = null;
const C = {};

function decode(binary) {
  const bytes = new Uint8Array(binary.length);
  for (let k = 0; k < bytes.length; k++) bytes[k] = binary.charCodeAt(k);
  return bytes;
}

async function column({ type, data }) {
  const packed = Uint8Array.fromBase64 ? Uint8Array.fromBase64(data) : decode(atob(data));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
  const kind = { Uint8Array, Uint32Array, Float32Array }[type];
  return new kind(await new Response(stream).arrayBuffer());
}

async function read() {
  const found = JSON.parse($('data').textContent);
  $('data').remove();
  H = found.header;
  const names = Object.keys(found.columns);
  const values = await Promise.all(names.map((name) => column(found.columns[name])));
  names.forEach((name, i) => { C[name] = values[i]; });
}

// Thresholds are fp32, as the statistics are: > must say here what it says in the run.
const cut = { entropy: 0, divergence: 0 };

function setCut(axis, quantile) {
  const trained = Math.abs(quantile - H.quantiles[axis]) < 1e-9;
  cut[axis] = trained ? Math.fround(H.thresholds[axis]) : C[`quantiles_${axis}`][Math.round(quantile * 1000)];
}

function quadrant(i) {
  if (!C.valid[i]) return 0;
  return 1 + !(C.reverse_kl[i] > cut.divergence) + 2 * !(C.student_entropy[i] > cut.entropy);
}

const kept = (i, rule) => C[`weight${rule}`][i] > 0;
const keptBySome = (i) => H.rules.some((_, rule) => kept(i, rule));
const keptOnlyBy = (i, rule) => kept(i, rule) && H.rules.every((_, other) => other === rule || !kept(i, other));

// Shares of a rollout's tokens in Q1..Q4.
function shares({ start, length }) {
  const counts = [0, 0, 0, 0, 0];
  for (let i = start; i < start + length; i++) counts[quadrant(i)]++;
  const total = Math.max(length - counts[0], 1);
  return [1, 2, 3, 4].map((q) => ({ q, count: counts[q], share: counts[q] / total }));
}

// [from, to) of the student's turns and of what stands between them, in tokens of the rollout: one, if there are no tools.
function turns({ start, length }) {
  const found = [];
  for (let k = 0, from = 0; k < length; k++) {
    if (k + 1 < length && C.valid[start + k + 1] === C.valid[start + k]) continue;
    found.push([from, k + 1]);
    from = k + 1;
  }
  return found;
}

// The student's own tokens.
function owned({ start, length }) {
  let n = 0;
  for (let i = start; i < start + length; i++) n += C.valid[i];
  return n;
}

// A rollout's text in lower case, and where each token begins in it: made when it is first searched.
function searchable(rollout) {
  if (!rollout.text) {
    const parts = [];
    rollout.at = new Uint32Array(rollout.length + 1);
    for (let k = 0; k < rollout.length; k++) {
      parts.push(H.texts[C.piece[rollout.start + k]].toLowerCase());
      rollout.at[k + 1] = rollout.at[k] + parts[k].length;
    }
    rollout.text = parts.join('');
  }
  return rollout;
}

const contains = (rollout, query) => searchable(rollout).text.includes(query) || rollout.prompt.toLowerCase().includes(query);

// The tokens of a rollout that matches of `query` touch, as a mask.
function hits(rollout, query) {
  const { text, at, length } = searchable(rollout);
  const mask = new Uint8Array(length);
  for (let from = text.indexOf(query), k = 0; from >= 0; from = text.indexOf(query, from + 1)) {
    while (at[k + 1] <= from) k++;
    for (let t = k; t < length && at[t] < from + query.length; t++) mask[t] = 1;
  }
  return mask;
}
