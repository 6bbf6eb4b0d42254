'use strict';

const inFlightLimit = 5; // browsers open 6 connections to a host, and one is for the rehearsal
const timeLimit = 10_000; // ms for one answer
const silenceLimit = 3; // requests without an answer, in a row
const strangersLimit = {length: 5, time: 3000}; // answers from no revision, in a row, and their ms
const namesLimit = 12; // of revisions, and of kinds of failure
const latenciesKept = 200; // of each revision
const rateTime = 5000; // ms that the rate really sent is measured over
const columnTime = 2000; // ms of the timeline
const columnsShown = 90;
const describedEvery = 10_000; // ms
const capacity = matchMedia('(max-width: 40rem)').matches ? 14 * 14 : 44 * 9; // as page.css lays them out
const stepwise = matchMedia('(prefers-reduced-motion: reduce)');

const noAnswer = 'no answer', tooSlow = `no answer in ${timeLimit / 1000} s`;

const byID = id => document.getElementById(id);
const byName = new Intl.Collator('en', {numeric: true}).compare; // v10 after v9
const number = new Intl.NumberFormat('en');
const percent = new Intl.NumberFormat('en', {style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1});
const clock = new Intl.DateTimeFormat('en-GB', {timeStyle: 'medium'});
const minute = new Intl.DateTimeFormat('en-GB', {timeStyle: 'short'});

const dots = Array.from({length: capacity}, newDot);
const columns = Array.from({length: columnsShown + 1}, newColumn); // the last one is filling
const minutes = Array.from({length: 4}, () => byID('minutes').appendChild(document.createElement('span')));
let newest = columnAt(Date.now()), described = 0, timelineWidth = 0;
let tally = newTally();
const silence = newRun(), strangers = newRun();
const rehearsal = {split: '', since: 0, asking: false, change: Promise.resolve()};
const sends = []; // the times of those in the last rateTime
let timer, ticker, scheduled = 0, inFlight = 0, paused = false, framed = false;

// newTally is what Reset begins; what was asked before is counted in the old one.
function newTally() {
  return {
    since: Date.now(), total: 0, named: 0, failed: 0,
    latest: new Array(capacity), drawn: 0, // the answer n is at n % capacity
    revisions: new Map(), failures: new Map(),
  };
}

// newRun is of answers that are alike, up to now.
function newRun() {
  return {length: 0, since: 0, kind: ''};
}

// Asking

function schedule() {
  clearInterval(timer);
  clearInterval(ticker);
  scheduled = performance.now();
  if (paused || document.hidden) return;
  timer = setInterval(send, 1000 / (isSilent() ? 1 : byID('rate').valueAsNumber));
  ticker = setInterval(draw, 250); // time passes without answers too
}

async function send() {
  if (inFlight >= inFlightLimit) return; // a slow revision must not pile up requests
  inFlight++;
  sends.push(performance.now());
  const asked = tally;
  const answer = await ask();
  inFlight--;
  listen(answer);
  follow(answer);
  if (asked === tally) count(answer);
  draw();
}

async function ask() {
  const answer = {name: '', pod: '', split: '', failure: noAnswer, latency: 0, sent: Date.now(), start: performance.now()};
  try {
    const response = await fetch('./', {
      cache: 'no-store',
      headers: {Accept: 'text/plain'},
      signal: AbortSignal.timeout(timeLimit),
    });
    answer.name = header(response, 'X-Revision').slice(0, 100);
    answer.pod = header(response, 'X-Pod').slice(0, 100);
    answer.split = header(response, 'X-Rehearsal');
    const text = await response.text();
    answer.latency = performance.now() - answer.start;
    answer.failure = response.ok ? '' : `${response.status}`;
    if (response.ok) answer.name ||= nameIn(text);
  } catch (error) { // the answer may have begun, and have a name
    if (error.name === 'TimeoutError') answer.failure = tooSlow;
  }
  return answer;
}

function header(response, name) {
  return response.headers.get(name) ?? '';
}

// nameIn is for a revision that does not send X-Revision: its text differs.
function nameIn(text) {
  return text.trim().replace(/^Welcome to the (.*) app!$/, '$1').slice(0, 100) || 'unnamed';
}

// listen slows the asking down while nothing answers.
function listen(answer) {
  const was = isSilent();
  if (answer.name) silence.length = strangers.length = 0;
  else if (answer.failure === noAnswer || answer.failure === tooSlow) extend(silence, answer);
  else {
    silence.length = 0;
    extend(strangers, answer);
  }
  if (isSilent() !== was) schedule();
}

function extend(run, {failure, sent}) {
  if (run.length++ === 0) Object.assign(run, {since: sent, kind: failure});
  else if (run.kind !== failure) run.kind = '';
}

function isSilent() {
  return silence.length >= silenceLimit;
}

// Counting

function count(answer) {
  const place = tally.total++ % capacity;
  weigh(tally.latest[place], -1);
  tally.latest[place] = answer;
  if (answer.failure) {
    tally.failed++;
    entry(tally.failures, `${answer.failure}\n${answer.name}`, 'others\n', newFailure).count++;
  }
  if (answer.name) {
    const revision = answer.revision = entry(tally.revisions, answer.name, 'others', newRevision);
    tally.named++;
    revision.count++;
    if (answer.failure) revision.failed++;
    else revision.latencies[revision.answered++ % latenciesKept] = answer.latency;
  }
  weigh(answer, 1);
  if (!isSilent()) record(answer);
}

// weigh adds to the latest of a revision, or takes away from them.
function weigh(answer, by) {
  if (!answer?.revision) return;
  const {latest, pods} = answer.revision;
  latest[answer.failure ? 'bad' : 'ok'] += by;
  if (!answer.pod) return;
  pods.set(answer.pod, (pods.get(answer.pod) ?? 0) + by);
  if (pods.get(answer.pod) === 0) pods.delete(answer.pod);
}

// entry is what map has for key, or for rest when it has enough.
function entry(map, key, rest, make) {
  if (!map.has(key) && map.size >= namesLimit) key = rest;
  if (!map.has(key)) map.set(key, make(key));
  return map.get(key);
}

function newRevision(name) {
  const item = newItem('revision'), look = lookOf(name);
  part(item, 'name').textContent = name;
  part(item, 'ok').classList.add(look.color, look.texture);
  wear(part(item, 'dot'), look, '', false);
  insert(byID('revisions'), item, name);
  return {name, item, count: 0, failed: 0, answered: 0, latencies: new Float64Array(latenciesKept), latest: {ok: 0, bad: 0}, pods: new Map()};
}

function newFailure(key) {
  const [kind, name] = key.split('\n', 2);
  const item = newItem('failure');
  item.dataset.kind = kind;
  part(item, 'name').textContent = name;
  wear(part(item, 'dot'), name ? lookOf(name) : nobody, '', true);
  insert(byID('failures'), item, name);
  return {item, kind, count: 0};
}

function newItem(template) {
  return byID(template).content.firstElementChild.cloneNode(true);
}

// insert keeps a list sorted by name.
function insert(list, item, name) {
  item.dataset.name = name;
  list.insertBefore(item, [...list.children].find(other => byName(name, other.dataset.name) < 0) ?? null);
}

function part(item, name) {
  return item.querySelector(`.${name}`);
}

// Over time

function newColumn() {
  const element = document.createElement('span');
  return {element: byID('columns').appendChild(element), slices: new Map()};
}

function columnAt(time) {
  return Math.floor(time / columnTime);
}

function record({revision, failure}) {
  advance();
  const {element, slices} = columns.at(-1);
  const name = failure ? '' : revision.name;
  if (!slices.has(name)) slices.set(name, newSlice(element, name));
  const slice = slices.get(name);
  slice.element.style.flexGrow = ++slice.count;
}

function newSlice(column, name) {
  const element = document.createElement('span');
  if (name) element.className = `${lookOf(name).color} ${lookOf(name).texture}`;
  else element.className = 'bad';
  insert(column, element, name);
  return {element, count: 0};
}

// advance takes up the oldest columns for the time that has passed. Where the
// clock was set back, all of them are of another time.
function advance() {
  const passed = columnAt(Date.now()) - newest;
  if (passed === 0 || passed === -1) return;
  newest += passed;
  for (const column of columns.splice(0, passed < 0 ? columns.length : passed)) {
    clear(column);
    byID('columns').append(column.element);
    columns.push(column);
  }
}

function clear({element, slices}) {
  element.replaceChildren();
  slices.clear();
}

function renderTimeline() {
  advance();
  const now = Date.now();
  const filled = stepwise.matches ? 1 : Math.max(0, now / columnTime - newest);
  const pixels = filled * timelineWidth / columnsShown * devicePixelRatio;
  byID('columns').style.translate = `${-Math.round(pixels) / devicePixelRatio}px`;
  minutes.forEach((label, n) => {
    const time = (Math.floor(now / 60_000) - n) * 60_000;
    write(label, minute.format(time));
    label.style.left = `${100 * (1 - (now - time) / (columnTime * columnsShown))}%`;
  });
  if (now >= described && now < described + describedEvery) return;
  described = now;
  byID('timeline').ariaLabel = `Shares by half minute, the oldest first: ${describe()}`;
}

// describe is the timeline for those who do not see it.
function describe() {
  const texts = [], size = 15; // columns of half a minute
  for (let n = 1; n < columns.length; n += size) {
    const counts = new Map();
    for (const {slices} of columns.slice(n, n + size)) {
      for (const [name, {count}] of slices) counts.set(name, (counts.get(name) ?? 0) + count);
    }
    const sum = [...counts.values()].reduce((a, b) => a + b, 0);
    const shares = [...counts].sort(([a], [b]) => byName(a, b)).map(([name, count]) => `${name || 'failed'} ${percent.format(count / sum)}`);
    texts.push(`${clock.format((newest - columnsShown + n) * columnTime)} ${shares.join(', ') || 'no answers'}`);
  }
  return texts.join('; ');
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
  renderTimeline();
  renderRate();
  for (const revision of tally.revisions.values()) renderRevision(revision);
  for (const {item, kind, count} of tally.failures.values()) {
    item.dataset.count = count;
    write(part(item, 'kind'), `${kind} × ${number.format(count)}`);
  }
  write(byID('latest'), `shares of the latest ${number.format(latestCount())} requests`);
  write(byID('since'), clock.format(tally.since));
  renderCount('total', tally.total, ' requests');
  renderCount('failed', tally.failed, tally.failed ? ` failed, ${percent.format(tally.failed / tally.total)}` : ' failed');
  byID('waiting').hidden = tally.named > 0;
  write(byID('banner'), warning());
}

function latestCount() {
  return Math.min(tally.total, capacity);
}

function warning() {
  const again = paused ? '' : ' Trying again…';
  if (isSilent()) {
    const since = clock.format(silence.since);
    if (silence.kind === tooSlow) return `Nothing has answered within ${timeLimit / 1000} s since ${since}: too slow.${again}`;
    return `Nothing answers here since ${since}.${again}`;
  }
  if (strangers.length < strangersLimit.length || Date.now() < strangers.since + strangersLimit.time) return '';
  return `Every answer since ${clock.format(strangers.since)} is ${strangers.kind || 'a failure'}, from no revision.`;
}

function renderDots() {
  const {latest, total} = tally;
  if (tally.drawn === total) return;
  document.querySelector('#dots .newest')?.classList.remove('newest');
  for (let n = Math.max(tally.drawn, total - capacity); n < total; n++) {
    const {name, failure} = latest[n % capacity];
    const title = failure && name ? `${failure} from ${name}` : failure || name;
    wear(dots[n % capacity], name ? lookOf(name) : nobody, title, Boolean(failure));
  }
  dots[(total - 1) % capacity].classList.add('newest');
  tally.drawn = total;
}

function renderRevision({item, count, failed, answered, latencies, latest, pods}) {
  Object.assign(item.dataset, {count, failed, latest: latest.ok + latest.bad});
  const facts = [];
  if (pods.size) facts.push(pods.size === 1 ? 'from 1 pod' : `from ${number.format(pods.size)} pods`);
  if (answered) {
    const sorted = latencies.slice(0, answered).sort();
    facts.push(`median ${duration(quantile(sorted, .5))}`, `99% in ${duration(quantile(sorted, .99))}`);
  }
  write(part(item, 'facts'), facts.join(' · '));
  write(part(item, 'counts'), `in all ${number.format(count - failed)} answers${failed ? `, ${number.format(failed)} failed` : ''}`);
  write(part(item, 'share'), percent.format((latest.ok + latest.bad) / latestCount()));
  part(item, 'ok').style.width = `${100 * latest.ok / latestCount()}%`;
  part(item, 'bad').style.width = `${100 * latest.bad / latestCount()}%`;
}

// renderRate tells where fewer requests are sent than are asked for.
function renderRate() {
  const now = performance.now();
  while (sends[0] < now - rateTime) sends.shift();
  if (paused || now < scheduled + rateTime) return write(byID('sent'), '');
  const wanted = byID('rate').valueAsNumber * rateTime / 1000;
  write(byID('sent'), sends.length < .9 * wanted - 1 ? `· really sent: ${(sends.length * 1000 / rateTime).toFixed(1)}` : '');
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

const blank = {color: '', shape: '', texture: '', label: ''};
const nobody = {color: '', shape: '', texture: '', label: '✕'};

// lookOf is the same for a name on every page: the number at its end chooses
// one of 8 colors and, 8 apart, one of 4 shapes and textures. Colors 0 and 4
// begin with another texture: to colour-blind eyes they are color 3's grey.
function lookOf(name) {
  const digits = /\d+$/.exec(name);
  const n = digits ? Number(digits[0]) : hash(name);
  const color = n % 8, shape = Math.floor(n / 8) % 4;
  const last = name.slice(name.lastIndexOf('-') + 1).replace(/^0+(?=\d)/, '');
  return {
    color: `color-${color}`,
    shape: `shape-${shape}`,
    texture: `texture-${(shape + ({0: 2, 4: 1}[color] ?? 0)) % 4}`,
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

function wear(dot, {color, shape, texture, label}, title, failed) {
  dot.className = `dot ${color} ${shape} ${texture} letters-${label.length} ${failed ? 'failed' : ''}`;
  dot.title = title;
  write(dot, label);
}

// Rehearsing: on a cluster no answer has X-Rehearsal, and none of this shows

// follow shows the split that an answer was drawn by, whoever has set it. An
// answer that was asked for before the split was shown may be of an older one.
function follow({name, split, start}) {
  if (!name || start < rehearsal.since) return;
  byID('rehearsal').hidden = !split;
  if (split && split !== rehearsal.split && !rehearsal.asking) askRehearsal();
}

async function askRehearsal() {
  rehearsal.asking = true;
  try {
    const response = await callRehearsal({});
    if (!response.ok) throw new Error(response.status);
    showRehearsal(await response.json());
  } catch {
    say('The rehearsal does not tell its split. Asking again…', true);
    rehearsal.since = performance.now() + 1000;
  }
  rehearsal.asking = false;
}

// change asks for one split after the other, as they were chosen.
function change(split) {
  rehearsal.change = rehearsal.change.then(async () => {
    try {
      const response = await callRehearsal({method: 'PUT', body: split});
      if (!response.ok) return say(`Not changed: ${(await response.text()).trim().slice(0, 300) || response.status}`, true);
      showRehearsal(await response.json());
      byID('percents').reset();
      addUp();
    } catch {
      say('The rehearsal does not answer: the split may not have changed.', true);
    }
  });
}

function callRehearsal(options) {
  return fetch('./rehearsal', {...options, cache: 'no-store', headers: {Accept: 'application/json'}, signal: AbortSignal.timeout(timeLimit)});
}

function say(text, wrong) {
  byID('said').classList.toggle('wrong', wrong);
  write(byID('said'), text);
}

function showRehearsal({split, latest, files}) {
  say(rehearsal.split ? `${split} since ${clock.format(Date.now())}` : `${split} now`, false);
  rehearsal.split = split;
  rehearsal.since = performance.now();
  const percents = parse(split);
  fill('files', 'file', files.map(({file}) => file), (item, n) => {
    write(part(item, 'file'), files[n].file);
    write(part(item, 'does'), files[n].does);
    item.firstElementChild.dataset.split = files[n].split;
    item.firstElementChild.ariaPressed = files[n].split === split;
  });
  const names = new Set([split, ...files.map(file => file.split)].flatMap(text => [...parse(text).keys()])).add(latest);
  fill('inputs', 'percent', [...names].sort(byName), item => {
    const name = item.dataset.name;
    write(part(item, 'tag'), name);
    item.querySelector('input').defaultValue = percents.get(name) ?? 0; // shows unless another is being typed
  });
  addUp();
  showLatest(latest, Number(percents.get(latest) ?? 0));
}

function showLatest(name, percent) {
  const host = `latest.localhost${location.port && ':'}${location.port}`;
  byID('alone').hidden = percent > 0;
  byID('alone').href = `//${host}/`;
  write(byID('alone'), `${name} alone answers at ${host}`);
}

// parse reads v1=50,v2=50.
function parse(split) {
  return new Map(split.split(',').map(part => {
    const equals = part.lastIndexOf('=');
    return [part.slice(0, equals).trim(), part.slice(equals + 1)];
  }));
}

// fill gives a list an item for each key, in their order, and keeps those that
// it has: one may have the focus, or a percent that is being typed.
function fill(list, template, keys, write) {
  const items = byID(list).children, old = new Map([...items].map(item => [item.dataset.name, item]));
  keys.forEach((key, n) => {
    const item = old.get(key) ?? newItem(template);
    item.dataset.name = key;
    if (items[n] !== item) byID(list).insertBefore(item, items[n] ?? null);
    write(item, n);
  });
  while (items.length > keys.length) byID(list).lastElementChild.remove();
}

function inputs() {
  return [...byID('inputs').children].map(item => [item.dataset.name, item.querySelector('input').value]);
}

function addUp() {
  const sum = inputs().reduce((sum, [, value]) => sum + Number(value), 0);
  byID('sum').classList.toggle('wrong', sum !== 100);
  write(byID('sum'), `= ${sum} %`);
}

byID('files').addEventListener('click', ({target}) => {
  const button = target.closest('button');
  if (button) change(button.dataset.split);
});

byID('percents').addEventListener('input', addUp);
byID('percents').addEventListener('submit', event => {
  event.preventDefault();
  const known = parse(rehearsal.split);
  change(inputs().filter(([name, value]) => known.has(name) || value !== '0').map(pair => pair.join('=')).join());
});

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
  for (const dot of dots) wear(dot, blank, '', false);
  columns.forEach(clear);
  draw();
});

byID('rate').addEventListener('input', setRate);
document.addEventListener('visibilitychange', schedule);
new ResizeObserver(([{contentRect}]) => {
  timelineWidth = contentRect.width;
  draw();
}).observe(byID('timeline'));
setRate(); // to what a browser may have kept over a reload
draw();

function setRate() {
  byID('rate-value').textContent = byID('rate').value;
  schedule();
}
