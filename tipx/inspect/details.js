// What is known of one token.
const QUADRANTS = ['not the student’s', 'Q1 unsure, wrong', 'Q2 unsure, agreeing', 'Q3 sure, wrong', 'Q4 solved'];
const SHOWN = [
  ['student_entropy', 'entropy'], ['reverse_kl', 'divergence'], ['teacher_entropy', 'teacher’s entropy'],
  ['forward_kl', 'forward KL'], ['student_logprob', 'log P student'], ['jsd', 'JSD'],
  ['teacher_logprob', 'log P teacher'], ['loss', 'loss'],
];

function describe(i) {
  const box = $('details');
  if (i === null) {
    box.replaceChildren(make('p', 'hint', 'Point at a token, tap it, or walk with ← and →: its numbers and what both models found likeliest.'));
    return;
  }
  const { start, length, own } = H.rollouts[state.rollout];
  const q = quadrant(i);
  const text = visible(H.texts[C.piece[i]]);
  const token = make('span', `token t q${q}`, text);
  const where = `${i - start + 1} of ${length}${length > own ? ' with those of tools' : ''} · id ${C.token[i]}${state.held === i ? ' · held' : ''}`;
  const head = make('div', 'head', null, token, make('span', '', QUADRANTS[q]), make('span', '', where));
  box.replaceChildren(head);
  if (text.includes('\ufffd')) head.append(make('span', '', 'part of a character that other tokens complete'));
  if (!q) { box.append(make('p', 'hint', 'The student did not sample it: a tool said it, or the chat template puts it there. It is read, never trained on.')); return; }
  const values = SHOWN.map(([name, label]) => [label, number(C[name][i]), name, C[name][i]]);
  const rows = H.rules.flatMap((name, rule) => {
    const label = H.rules.length > 1 ? name : '';
    const [weight, rank] = [C[`weight${rule}`][i], C[`rank${rule}`][i]];
    return [[`${label} weight`, `${weight}${weight > 0 ? ' kept' : ''}`, `weight${rule}`, weight], [`${label} rank`, `${rank} of ${own}`, `rank${rule}`, rank]];
  });
  const tops = make('div', 'tops', null, leaders('student', i), leaders('teacher', i));
  box.append(make('div', 'parts', null, numbers([...values, ...rows]), tops));
}

function numbers(rows) {
  const list = make('dl');
  for (const [label, text, name, value] of rows) {
    const cell = make('dd', '', text);
    cell.dataset.name = name;
    cell.dataset.value = value;
    list.append(make('dt', '', label), cell);
  }
  return list;
}

function leaders(role, i) {
  const list = make('ol');
  const size = C[`${role}_top`].length / Math.max(C.valid.length, 1);
  for (let k = i * size; k < (i + 1) * size; k++) {
    const probability = C[`${role}_top_prob`][k];
    const bar = make('i');
    bar.style.width = percent(probability);
    const place = C[`${role}_top`][k];
    const row = make('li', C.led[place] === C.token[i] ? 'own' : '', null, bar,
      make('span', '', visible(H.texts[C.led_piece[place]])), make('span', '', probability < 0.0005 ? number(probability) : percent(probability)));
    row.dataset.value = probability;
    row.dataset.token = C.led[place];
    list.append(row);
  }
  return make('div', role, null, make('h4', '', `${role}’s likeliest`), list);
}
