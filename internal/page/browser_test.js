'use strict';

// Scenarios of what a person sees of the page, which is in a frame. Times are the browser's: see TestBrowser.

const scenarios = [], scenario = (group, name, run) => scenarios.push({group, name, run}), wrong = [];
const frame = document.querySelector('iframe');
const $ = selector => frame.contentDocument.querySelector(selector);
const $$ = selector => [...frame.contentDocument.querySelectorAll(selector)];
const read = element => element.innerText.trim().replace(/\s+/g, ' ').replace(/\d\d:\d\d:\d\d/g, 'TIME');
const text = selector => $(selector)?.checkVisibility() ? read($(selector)) : 'not shown';
const texts = selector => $$(selector).filter(element => element.checkVisibility()).map(read);
const sleep = ms => new Promise(done => setTimeout(done, ms));
let requests; // of the page

function check(what, isRight) {
  if (!isRight) wrong.push(`${what}; the page reads: ${read(frame.contentDocument.body).slice(0, 700)}`);
}

function equal(what, got, want) {
  const [a, b] = [JSON.stringify(got), JSON.stringify(want)];
  if (a !== b) wrong.push(`${what}: ${a}, want ${b}`);
}

async function until(what, condition, limit = 60_000) {
  for (let ms = 0; ms < limit; ms += 50, await sleep(50)) if (condition()) return;
  throw new Error(`not within ${limit} ms: ${what}; the page reads: ${read(frame.contentDocument.body).slice(0, 700)}`);
}

// open opens the page of a new service, counts its requests, and can hold their answers back.
async function open(service, width = 1280, height = 720) {
  await fetch('/new').then(() => switchTo(service));
  // Where it is not seen, it is not painted, which saves much of the time.
  frame.style.cssText += `position: fixed; top: 9000px; border: 0; width: ${width}px; height: ${height}px`;
  frame.src = '/';
  await new Promise(done => { frame.onload = done; });
  const {fetch: ask} = frame.contentWindow;
  const own = requests = {sent: 0, inFlight: 0, most: 0, others: 0, delay: 0};
  frame.contentWindow.fetch = async (url, options) => {
    if (url !== './') return ask(url, options, own.others++);
    const delay = own.delay * (++own.sent % 3 ? 1 : .5); // so that not all take as long
    own.most = Math.max(own.most, ++own.inFlight);
    try {
      const response = await ask(url, options);
      await new Promise((done, fail) => {
        options.signal?.addEventListener('abort', () => fail(options.signal.reason));
        setTimeout(done, delay);
      });
      return response;
    } finally {
      own.inFlight--;
    }
  };
}

// pressPause waits for the answers in flight, so that what is read afterwards is one state.
async function pressPause() {
  $('#pause').click();
  await until('no request is in flight', () => requests.inFlight === 0);
  await sleep(0);
}

function setClock(later) {
  const {Date} = frame.contentWindow, {now} = Date;
  Date.now = () => now.call(Date) + later;
}

const switchTo = service => fetch(`/to/${service}`);
const setRate = rate => Object.assign($('#rate'), {value: rate}).dispatchEvent(new Event('input'));
const put = change => fetch('/rehearsal', {method: 'PUT', body: change});
const rowOf = name => $$('#revisions li').find(item => read(item.querySelector('.name')).split('-').at(-1) === name);
const partOf = (name, part) => rowOf(name).querySelector(`.${part}`);
const shareOf = name => rowOf(name) && parseFloat(read(partOf(name, 'share')));
const total = () => Number(text('#total').replace(/\D/g, ''));
const pressed = () => $$('#changes [aria-pressed=true]').map(button => button.dataset.change).join();
const columns = () => $$('#columns > span').map(column => [...column.children]);
const filled = () => columns().map(column => column.length ? '#' : '_').join('');
const groups = items => Object.fromEntries([...Map.groupBy(items, String)].map(([item, {length}]) => [item, length]));

// ---------- Rehearsals ----------

scenario('rehearsals', 'the files in order', async () => {
  await open('rehearsal');
  const {files} = await (await fetch('/rehearsal', {headers: {Accept: 'application/json'}})).json();
  setRate(50);
  await until('the first file is marked', () => pressed() === files[0].file);
  equal('buttons', texts('#files button'), files.map(({file, does}) => `${file} ${does.replace(/\s/g, ' ')}`));
  equal('marks before any change', texts('#marks li'), []);
  const top = $('#course').offsetTop, canary = $('#canary').dataset.change;
  const changes = [{file: canary, split: canary}, ...files.slice(1), files[1], files[0]];
  for (const {file, split} of changes) {
    $(`[data-change="${file}"]`).click();
    await until(`${file} is marked`, () => pressed() === file && text('#said').startsWith(`${file} since TIME`));
    equal('the split', (await (await fetch('/rehearsal')).text()).trim(), split);
    equal('the percents to edit', $('#split').value, split);
    await sleep(2000); // 100 answers
    const expected = Object.fromEntries(split.split(',').map(target => target.split('=')));
    for (const name of Object.keys({...expected, v1: '', v2: ''})) {
      const percent = Number(expected[name] ?? 0), mark = partOf(name, 'mark');
      equal(`${name} after ${file}`, read(partOf(name, 'expected')), `${percent}%`);
      equal('its mark', [mark.style.left, mark.checkVisibility()], [`${percent}%`, true]);
      check(`${name} has ${shareOf(name)}% after ${file}`, Math.abs(shareOf(name) - percent) < 3);
    }
    const alone = expected.v3 === '0' ? `v3 alone answers at latest.localhost:${location.port}` : 'not shown';
    equal(`the link after ${file}`, text('#alone'), alone);
    equal(`what ${file} moves`, $('#course').offsetTop, top);
  }
  equal('the link', $('#alone').href, `http://latest.localhost:${location.port}/`);
  equal('marks', texts('#marks li'), changes.map(({file}, n) => `${n + 1} TIME ${file}`).reverse());
  equal('lines', texts('#notes .line'), changes.map((_, n) => `${n + 1}`));
  setRate(1);
  const was = $('#notes .line').offsetLeft;
  await sleep(9000);
  const moved = 180 * (was - $('#notes .line').offsetLeft) / $('#timeline').offsetWidth;
  check(`in 9 s a line has moved by ${moved} s`, Math.abs(moved - 9) < 1);
  setClock(200_000);
  await sleep(1000);
  equal('marks and lines after the timeline', $$('#marks li, #notes .line').length, 0);
});

scenario('others', 'shares and dots', async () => {
  await open('rehearsal');
  await put('revision-v3-2.yaml');
  setRate(50);
  await sleep(10_000);
  await pressPause();
  equal('they are of', text('#latest'), 'of the latest 396 answers since TIME');
  const lookOf = dot => `${dot.title} ${read(dot)} ${getComputedStyle(dot).backgroundColor}`;
  const looks = $$('#dots .dot:not(.before)').map(lookOf);
  const shares = ['v1', 'v2', 'v3'].map(name => Math.round(396 * shareOf(name) / 100));
  equal('dots', Object.entries(groups(looks)).sort(), [
    ['stock-service-example-v1 v1 rgb(0, 114, 178)', shares[0]],
    ['stock-service-example-v2 v2 rgb(230, 159, 0)', shares[1]],
    ['stock-service-example-v3 v3 rgb(0, 158, 115)', shares[2]],
  ]);
  equal('rings', $$('#dots .newest').length, 1);
  check('facts', /^in all \d+ requests · median [\d.]+ ms · 99% in [\d.]+ ms$/.test(read(partOf('v1', 'facts'))));
  const column = columns().at(-2), all = column.reduce((sum, slice) => sum + Number(slice.style.flexGrow), 0);
  for (const {offsetHeight, style} of column) {
    const share = offsetHeight / $('#timeline').offsetHeight;
    check(`${style.flexGrow} of ${all} are drawn as ${share}`, Math.abs(share - style.flexGrow / all) < .03);
  }
  const words = $('#columns').ariaLabel.replace(/[\d:.]{3,}/g, 'N'), v = 'stock-service-example-v';
  const now = `N ${v}1 N%, ${v}2 N%, ${v}3 N%`;
  equal('in words', words, `Shares by half minute, the oldest first: ${'N no answers; '.repeat(5)}${now}`);
  check('minutes', $$('#minutes span').every(label => /^\d\d:\d\d$/.test(label.textContent)));
});

scenario('rehearsals', 'changes by others, and late answers', async () => {
  await open('rehearsal');
  await until('v1 has all', () => shareOf('v1') === 100 && total() > 20);
  requests.delay = 500; // so that answers of the old split come after the change
  const neverCounts = async (name, split) => {
    for (let n = 0; n < 20; n++, await sleep(100)) check(`${name} has a share after ${split}`, !shareOf(name));
  };
  for (const [split, up, down] of [['v2=100', 'v2', 'v1'], ['v1=100', 'v1', 'v2']]) {
    await put(split);
    await until(`${split} shows`, () => shareOf(up) === 100, 3000);
    await neverCounts(down, split);
  }
  $('#split').value = 'v2=100';
  $('#percents button').click(); // whose answer comes before those that are held back
  await until('the change', () => text('#said').startsWith('v2=100 since TIME'), 400);
  await neverCounts('v1', 'v2=100');
  await pressPause();
  const [of] = text('#latest').match(/\d+/);
  equal('dots of now', $$('#dots [title]:not(.before)').length, Number(of));
  equal('dots of before', $$('#dots .before[title]').length, total() - of);
  await pressPause();
  // The percents stay the same, and another revision is the latest one.
  for (const [change, file] of [['revision-v3.yaml'], ['v1=50,v2=50', ''], ['revision-v2.yaml']]) {
    await put(change);
    await until(`after ${change}`, () => pressed() === (file ?? change) && text('#said').startsWith(`${change} since`));
  }
  equal('changes', texts('#marks li').length, 6);
});

scenario('rehearsals', 'failures', async () => {
  await open('bad v3');
  requests.delay = 20;
  setRate(50);
  await until('300 answers', () => total() >= 300);
  await pressPause();
  const [failed, mine] = read(partOf('v3', 'alarm')).match(/\d+/g).map(Number), v3 = 'stock-service-example-v3';
  const percent = (n, all) => `${(100 * n / all).toFixed(1)}%`;
  const failures = `${failed} of ${mine} failed, ${percent(failed, mine)}`;
  equal('alarms', texts('.alarm'), [`${failures}. Roll back: press revision-v2.yaml.`]);
  equal('in all', text('#failed'), `${failed} failed, ${percent(failed, total())}`);
  equal('by kind', texts('#failures li'), [`v3 500 × ${failed} ${v3}`]);
  const isCrossed = dot => getComputedStyle(dot).backgroundImage.includes('linear-gradient(to right top');
  const lookOf = dot => `${dot.title} ${read(dot)} ${getComputedStyle(dot).backgroundColor} ${isCrossed(dot)}`;
  equal('dots', groups($$('#dots .failed').map(lookOf)), {[`500 from ${v3} v3 rgb(0, 158, 115) true`]: failed});
  const facts = read(partOf('v3', 'facts')), latency = parseFloat(facts.split('median ')[1]);
  check('facts', facts.startsWith(`in all ${mine} requests, ${failed} failed · median ${latency} ms · 99% in `));
  check(`a latency of ${latency} ms`, latency >= 20 && latency < 60);
  await pressPause();
  $('[data-change="revision-v2.yaml"]').click();
  await until('v3 has nothing', () => shareOf('v3') === 0 && texts('.alarm').length === 0);
});

scenario('rehearsals', 'percents', async () => {
  await open('rehearsal');
  await until('v1 is marked', () => pressed() === 'revision-v1.yaml');
  const type = percents => {
    $('#split').select();
    frame.contentDocument.execCommand('insertText', false, percents);
  };
  const color = () => getComputedStyle($('#said')).color, plain = color();
  type('v1=70,v2=50');
  $('#percents button').click();
  await until('it is refused', () => text('#said') === 'Not changed: the percents add up to 120, not to 100');
  check('that looks wrong', color() !== plain);
  await put('v1=90,v2=0,v3=10');
  await until('somebody else changes', () => text('#said') === 'v1=90,v2=0,v3=10 since TIME' && color() === plain);
  equal('what is being typed, and the file', [$('#split').value, pressed()], ['v1=70,v2=50', '']);
  type('v1=70, v2=20, blue=10'); // a name that no file has
  $('#percents button').click();
  await until('it is changed', () => text('#said') === 'v1=70,v2=20,blue=10 since TIME');
  equal('the input', [$('#split').value, read(partOf('blue', 'expected'))], ['v1=70,v2=20,blue=10', '10%']);
  equal('the link', text('#alone'), 'not shown');
  await switchTo('gone');
  $('#files button').click();
  const noAnswer = 'The rehearsal does not answer: the split may not have changed.';
  await until('nothing answers', () => text('#said') === noAnswer && text('#banner') !== 'not shown');
  await switchTo('plain');
  await until('no rehearsal', () => texts('#rehearsal, #percents, #heads, #marks, .mark, .expected').length === 0);
  await switchTo('rehearsal');
  await until('it is back', () => text('#said') === 'v1=70,v2=20,blue=10 since TIME');
});

scenario('preview', 'preview', async () => {
  await open('bad v3');
  for (const name of ['v3', 'v2']) {
    await put(`revision-${name}.yaml`);
    await until(`${name} alone`, () => frame.contentDocument.title === `Only ${name} · Traffic split`);
    equal('it says so', text('#only'), `Only stock-service-example-${name} has answered here since TIME.`);
  }
  equal('about a rehearsal', [text('#rehearsal'), requests.others], ['not shown', 0]);
  await switchTo('404'); // the tag is gone
  await until('none alone', () => frame.contentDocument.title === 'Traffic split' && text('#only') === 'not shown');
});

// ---------- Clusters and outages ----------

scenario('others', 'a cluster', async () => {
  await open('v1 of one pod');
  await until('1 pod', () => rowOf('v1') && read(partOf('v1', 'facts')).includes(' requests · 1 pod · median '));
  await until('v1 alone', () => frame.contentDocument.title === 'Only v1 · Traffic split' && total() >= 100);
  await switchTo('v2 of three pods');
  await until('none alone', () => shareOf('v2') > 0 && frame.contentDocument.title === 'Traffic split', 2000);
  await sleep(7000);
  check(`of the last 10 s v1 has ${shareOf('v1')}%`, shareOf('v1') > 20 && shareOf('v1') < 40);
  await sleep(4000);
  equal('shares', [shareOf('v1'), shareOf('v2')], [0, 100]);
  check('3 pods', read(partOf('v2', 'facts')).includes(' · 3 pods · '));
  check('they are of', /^of the (99|10\d) answers of the last 10 s$/.test(text('#latest')));
  await switchTo('plain');
  await sleep(11_000);
  check('no pods', !read(partOf('v1', 'facts')).includes('pod'));
  equal('about a rehearsal', [text('#rehearsal'), text('.expected'), requests.others], ['not shown', 'not shown', 0]);
  equal('marks and dimmed dots', $$('#notes .line, #dots .before').length, 0);
});

scenario('others', 'many names, and a clock that is set', async () => {
  await open('many names');
  setRate(50);
  await until('all of them', () => $$('#failures li').length > 12 && total() >= 200);
  await pressPause();
  const names = texts('#revisions .name'), numbered = names.filter(name => name.startsWith('r-'));
  equal('rows', [names.length, $$('#failures li').length], [13, 13]); // with the others
  equal('order', numbered, numbered.toSorted((a, b) => a.slice(2) - b.slice(2)));
  check('v1, which sends no X-Revision', /^in all 5\d/.test(read(partOf('v1', 'facts'))));
  check('others', shareOf('others') > 20 && text('#failures').includes('others'));
  await pressPause();
  const before = $$(':not(#columns *)').length;
  await sleep(4000);
  equal('elements', $$(':not(#columns *)').length, before);
  check('few slices in each column', columns().slice(-3, -1).every(({length}) => length >= 2 && length <= 14));
  for (const later of [-3600_000, 24 * 3600_000]) {
    setClock(later);
    await sleep(500);
    check(`columns: ${filled()}`, filled().length === 91 && /^_+#{1,2}_?$/.test(filled()));
  }
});

scenario('others', 'outages', async () => {
  await open('v1 of one pod');
  await sleep(5000);
  equal('the banner', text('#banner'), 'not shown');
  await switchTo('404');
  await until('the gateway alone', () => text('#banner') === 'Every answer since TIME is 404, from no revision.', 5000);
  await sleep(12_000);
  equal('the share', read(partOf('v1', 'share')), '–');
  equal('the timeline', columns().at(-2).map(slice => slice.className), ['bad']);
  await switchTo('v1 of one pod');
  await until('v1 again', () => text('#banner') === 'not shown', 2000);
  await switchTo('gone');
  await until('nothing', () => text('#banner') === 'Nothing answers here since TIME. Trying again…', 1000);
  const {sent} = requests;
  await sleep(10_000);
  check(`${requests.sent - sent} requests in 10 s`, Math.abs(requests.sent - sent - 10) < 2);
  await switchTo('v1 of one pod');
  await until('the full rate', () => text('#banner') === 'not shown' && requests.sent > sent + 40, 5000);
  check(`a gap: ${filled()}`, /#_{3,}#/.test(filled()));
  equal('failures', texts('#failures .kind').map(kind => kind.split(' ×')[0]), ['404', 'no answer']);
});

scenario('others', 'slow answers', async () => {
  await open('v1 of one pod');
  requests.delay = 1000;
  setRate(50);
  await sleep(12_000);
  equal('requests in flight', requests.most, 5); // of the 6 connections that browsers open to one host
  equal('the rate', text('#sent'), '· actually sent: 6.0');
  check('latencies', / · median 1,0\d0 ms · 99% in 1,0\d0 ms$/.test(read(partOf('v1', 'facts'))));
  setRate(1);
  await sleep(8000);
  equal('the rate', text('#sent'), '');
  requests.delay = 3_600_000;
  setRate(10);
  const tooSlow = 'Nothing has answered within 10 s since TIME: too slow. Trying again…';
  await until('the banner', () => text('#banner') === tooSlow, 12_000);
  check('the kind', text('#failures').startsWith('✕ no answer in 10 s × '));
});

scenario('rehearsals', 'controls and a hidden tab', async () => {
  await open('rehearsal');
  await until('the files are shown', () => text('#canary') !== 'not shown');
  setRate(15);
  await sleep(300);
  equal('rate', text('label'), '15 requests per second');
  const {sent} = requests;
  await sleep(4000);
  check(`${requests.sent - sent} requests in 4 s`, Math.abs(requests.sent - sent - 60) < 3);
  await pressPause();
  const paused = requests.sent;
  await sleep(5000);
  equal('while paused', [text('#pause'), requests.sent], ['Resume', paused]);
  await pressPause();
  await until('it goes on', () => requests.sent > paused + 5 && text('#pause') === 'Pause');
  const {contentDocument} = frame, hide = value => {
    Object.defineProperty(contentDocument, 'hidden', {value, configurable: true});
    contentDocument.dispatchEvent(new Event('visibilitychange'));
  };
  hide(true);
  await sleep(500);
  const hidden = requests.sent;
  await sleep(20_000);
  equal('requests while hidden', requests.sent, hidden);
  hide(false);
  await sleep(4000);
  equal('notes', texts('#notes .gap'), ['not watched', 'not watched']);
  const seconds = 180 * $$('#notes .gap')[1].offsetWidth / $('#timeline').offsetWidth;
  check(`a gap of ${seconds} s: ${filled()}`, Math.abs(seconds - 20.5) < 2 && /#_{8,}#/.test(filled()));
  // The keyboard reaches them all, and one sees where it is.
  const controls = $$('button, input, a[href]').filter(control => control.checkVisibility());
  equal('controls', controls.map(control => control.id || read(control).split(' ')[0]),
    ['rate', 'pause', ...texts('#files .file'), 'canary', 'split', 'Apply']);
  for (const control of controls) {
    control.focus({focusVisible: true});
    const {outlineStyle, outlineWidth} = getComputedStyle(control);
    check(`${control.id} has the focus`, control === contentDocument.activeElement && control.tabIndex === 0);
    equal(`focus on ${control.id}`, [outlineStyle, outlineWidth], ['solid', '2px']);
  }
});

scenario('others', 'room', async () => {
  for (const size of [[320, 700], [360, 740], [768, 1024], [1280, 720], [1920, 1080]]) {
    for (const scheme of ['light', 'dark']) {
      const [width, height] = size, at = `${size.join(' × ')}, ${scheme}`, long = 'x'.repeat(40);
      frame.style.colorScheme = scheme;
      await open('rehearsal', width, height);
      await put('revision-v3-2.yaml');
      setRate(50);
      await until('the file is marked', () => pressed() === 'revision-v3-2.yaml' && rowOf('v3'));
      const {backgroundColor} = getComputedStyle(frame.contentDocument.body);
      equal(`${at}: ground`, backgroundColor, scheme === 'dark' ? 'rgb(15, 18, 22)' : 'rgb(246, 247, 249)');
      // What changes is in sight of the buttons that change it.
      const [changes, timeline, revisions, requests, all] = ['changes', 'timeline', 'revisions', 'dots', 'all']
        .map(id => $(`#${id}`).getBoundingClientRect());
      const isOrder = changes.bottom < timeline.top && revisions.bottom < requests.top && requests.bottom < all.top;
      const end = Math.max(timeline.bottom, partOf('v3', 'share').getBoundingClientRect().bottom);
      check(`${at}: order`, isOrder && (end <= height || ![360, 1280].includes(width)));
      const dots = $$('#dots > *'), inRow = ({offsetTop}) => dots.filter(dot => dot.offsetTop === offsetTop).length;
      equal(`${at}: dots`, [dots.length, inRow(dots.at(-1))], [width < 640 ? 196 : 396, inRow(dots[0])]);
      await put(`v1=50,${long}=50`);
      await until('the long name', () => shareOf(long) > 0);
      equal(`${at}: width`, frame.contentDocument.documentElement.scrollWidth, width);
      const facts = partOf(long, 'facts'), {offsetHeight} = facts;
      facts.textContent = 'in all 123,456,789,012 requests, 12,345,678,901 failed · 1,234 pods'.repeat(5);
      equal(`${at}: height of the facts`, facts.offsetHeight, offsetHeight);
      await put('v1=100');
    }
  }
});

(async () => {
  for (const {name, run} of scenarios.filter(({group}) => `#${group}` === location.hash)) {
    wrong.push(name);
    await run().then(() => wrong.at(-1) === name && wrong.pop(), error => wrong.push(error.stack));
  }
  console.error('the last complaint'); // which shows that complaints are heard
  document.querySelector('pre').textContent = wrong.join('\n') || 'ok';
  frame.remove(); // and with it the page's timers
})();
