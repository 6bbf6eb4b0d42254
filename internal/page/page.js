'use strict';

const inFlightLimit = 6; // as many as browsers open to one host
const timeLimit = 10_000; // ms for one answer
const silenceLimit = 3; // requests without an answer, in a row
const namesLimit = 12; // of revisions, and of kinds of failure
const latenciesKept = 200; // of each revision
const capacity = matchMedia('(max-width: 40rem)').matches ? 14 * 14 : 22 * 18;

const byID = id => document.getElementById(id);
const number = new Intl.NumberFormat('en');
const percent = new Intl.NumberFormat('en', {style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1});
const clock = new Intl.DateTimeFormat('en-GB', {timeStyle: 'medium'});

const dots = Array.from({length: capacity}, newDot);
let tally = newTally();
const silence = {length: 0, since: 0};
let timer, inFlight = 0, paused = false, framed = false;

// newTally is what Reset begins; what was asked before is counted in the old one.
function newTally() {
  return {
    total: 0, named: 0, failed: 0,
    latest: new Array(capacity), drawn: 0, // the answer n is at n % capacity
    revisions: new Map(), failures: new Map(),
  };
}

// Asking

function schedule() {
  clearInterval(timer);
  if (paused || document.hidden) return;
  timer = setInterval(send, 1000 / (isSilent() ? 1 : byID('rate').valueAsNumber));
}

async function send() {
  if (inFlight >= inFlightLimit) return; // a slow revision must not pile up requests
  inFlight++;
  const asked = tally;
  const answer = await ask();
  inFlight--;
  listen(answer);
  if (asked === tally) count(answer);
  draw();
}

async function ask() {
  const sent = Date.now(), start = performance.now();
  try {
    const response = await fetch('./', {
      cache: 'no-store',
      headers: {Accept: 'text/plain'},
      signal: AbortSignal.timeout(timeLimit),
    });
    const text = await response.text();
    const latency = performance.now() - start;
    const name = response.headers.get('X-Revision') || (response.ok ? nameIn(text) : '');
    return {name: name.slice(0, 100), latency, failure: response.ok ? '' : `${response.status}`};
  } catch { // whatever it was
    return {name: '', failure: 'no answer', sent};
  }
}

// nameIn is for a revision that does not send X-Revision: its text differs.
function nameIn(text) {
  return text.trim().replace(/^Welcome to the (.*) app!$/, '$1') || 'unnamed';
}

// listen slows the asking down while nothing answers.
function listen(answer) {
  const was = isSilent();
  if (answer.failure !== 'no answer') silence.length = 0;
  else if (silence.length++ === 0) silence.since = answer.sent;
  if (isSilent() !== was) schedule();
}

function isSilent() {
  return silence.length >= silenceLimit;
}

// Counting

function count(answer) {
  tally.latest[tally.total++ % capacity] = answer;
  if (answer.failure) {
    tally.failed++;
    entry(tally.failures, `${answer.failure}\n${answer.name}`, 'others\n', newFailure).count++;
  }
  if (!answer.name) return;
  tally.named++;
  const revision = entry(tally.revisions, answer.name, 'others', newRevision);
  revision.count++;
  if (answer.failure) revision.failed++;
  else revision.latencies[revision.answered++ % latenciesKept] = answer.latency;
}

// entry is what map has for key, or for rest when it has enough.
function entry(map, key, rest, make) {
  if (!map.has(key) && map.size >= namesLimit) key = rest;
  if (!map.has(key)) map.set(key, make(key));
  return map.get(key);
}

function newRevision(name) {
  const item = newItem('revision', 'revisions', name);
  part(item, 'ok').classList.add(lookOf(name).color);
  wear(part(item, 'dot'), lookOf(name), '');
  return {item, count: 0, failed: 0, answered: 0, latencies: new Float64Array(latenciesKept)};
}

function newFailure(key) {
  const [kind, name] = key.split('\n', 2);
  const item = newItem('failure', 'failures', name);
  item.dataset.kind = kind;
  return {item, kind, count: 0};
}

// newItem adds to a list that is sorted by name, v10 after v9.
function newItem(template, list, name) {
  const item = byID(template).content.firstElementChild.cloneNode(true);
  item.dataset.name = part(item, 'name').textContent = name;
  const next = [...byID(list).children].find(other => name.localeCompare(other.dataset.name, 'en', {numeric: true}) < 0);
  byID(list).insertBefore(item, next ?? null);
  return item;
}

function part(item, name) {
  return item.querySelector(`.${name}`);
}

// Drawing

function draw() {
  if (framed) return;
  framed = true;
  requestAnimationFrame(render);
}

function render() {
  framed = false;
  renderDots();
  for (const revision of tally.revisions.values()) renderRevision(revision);
  for (const {item, kind, count} of tally.failures.values()) {
    item.dataset.count = count;
    write(part(item, 'kind'), `${kind} × ${number.format(count)}`);
  }
  renderCount('total', tally.total, ' requests');
  renderCount('failed', tally.failed, tally.failed ? ` · ${percent.format(tally.failed / tally.total)}` : '');
  byID('waiting').hidden = tally.named > 0;
  write(byID('banner'), isSilent() ? `Nothing answers here since ${clock.format(silence.since)}.${paused ? '' : ' Trying again…'}` : '');
}

function renderDots() {
  const {latest, total} = tally;
  if (tally.drawn === total) return;
  document.querySelector('#dots .newest')?.classList.remove('newest');
  for (let n = Math.max(tally.drawn, total - capacity); n < total; n++) {
    const {name, failure} = latest[n % capacity];
    if (!failure) wear(dots[n % capacity], lookOf(name), name);
    else wear(dots[n % capacity], cross, name ? `${failure} from ${name}` : failure);
  }
  dots[(total - 1) % capacity].classList.add('newest');
  tally.drawn = total;
}

function renderRevision({item, count, failed, answered, latencies}) {
  Object.assign(item.dataset, {count, failed});
  const facts = [`${number.format(count)} answers`];
  if (failed) facts.push(`${number.format(failed)} failed`);
  if (answered) {
    const sorted = latencies.slice(0, answered).sort();
    facts.push(`median ${duration(quantile(sorted, .5))}`, `99% within ${duration(quantile(sorted, .99))}`);
  }
  write(part(item, 'facts'), facts.map(fact => fact.replaceAll(' ', '\u00a0')).join(' · '));
  write(part(item, 'share'), percent.format(count / tally.named));
  part(item, 'ok').style.width = `${100 * (count - failed) / tally.named}%`;
  part(item, 'bad').style.width = `${100 * failed / tally.named}%`;
}

function renderCount(id, count, more) {
  byID(id).dataset.count = count;
  write(byID(id), number.format(count) + more);
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text; // a banner is read out once
}

function quantile(sorted, q) {
  return sorted[Math.ceil(q * sorted.length) - 1];
}

function duration(ms) {
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
}

// Looks

const blank = {color: '', shape: '', label: ''};
const cross = {color: 'failed', shape: '', label: '✕'};

// lookOf is the same for a name on every page: the number at its end chooses
// one of 8 colors and, 8 apart, one of 4 shapes.
function lookOf(name) {
  const digits = /\d+$/.exec(name);
  const n = digits ? Number(digits[0]) : hash(name);
  const last = name.slice(name.lastIndexOf('-') + 1).replace(/^0+(?=\d)/, '');
  return {
    color: `color-${n % 8}`,
    shape: `shape-${Math.floor(n / 8) % 4}`,
    label: Array.from(last).slice(0, 4).join(''),
  };
}

function hash(text) {
  return Array.from(text).reduce((sum, letter) => (31 * sum + letter.codePointAt(0)) % 65521, 0);
}

function newDot() {
  const dot = document.createElement('span');
  dot.className = 'dot';
  return byID('dots').appendChild(dot);
}

function wear(dot, {color, shape, label}, title) {
  dot.className = `dot ${color} ${shape} letters-${label.length}`;
  dot.title = title;
  write(dot, label);
}

// Controls

byID('pause').addEventListener('click', () => {
  paused = !paused;
  byID('pause').textContent = paused ? 'Resume' : 'Pause';
  schedule();
  draw();
});

byID('reset').addEventListener('click', () => {
  tally = newTally();
  byID('revisions').replaceChildren();
  byID('failures').replaceChildren();
  for (const dot of dots) wear(dot, blank, '');
  draw();
});

byID('rate').addEventListener('input', setRate);
document.addEventListener('visibilitychange', schedule);
setRate(); // to what a browser may have kept over a reload
draw();

function setRate() {
  byID('rate-value').textContent = byID('rate').value;
  schedule();
}
