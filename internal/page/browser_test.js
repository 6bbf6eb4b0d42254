'use strict';

// Scenarios of what a person sees of the page, which is in a frame. Times are the browser's: see TestBrowser.

const frame = document.querySelector('iframe');
const $ = selector => frame.contentDocument.querySelector(selector);
const $$ = selector => [...frame.contentDocument.querySelectorAll(selector)];
const isShown = selector => Boolean($(selector)?.checkVisibility());
const text = selector => $(selector).innerText.trim();
const sleep = ms => new Promise(done => setTimeout(done, ms));
const scenarios = new Map(), wrong = [];
let requests; // of the page

function scenario(name, run) {
  scenarios.set(name.replaceAll(' ', '_'), run);
}

function equal(what, got, want) {
  if (JSON.stringify(got) !== JSON.stringify(want)) wrong.push(`${what}: ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
}

function check(what, isRight) {
  if (!isRight) wrong.push(`${what}; the page reads: ${frame.contentDocument.body.innerText.replace(/\s+/g, ' ').slice(0, 700)}`);
}

async function until(what, condition, limit = 60_000) {
  for (let ms = 0; ms < limit; ms += 50) {
    if (condition()) return;
    await sleep(50);
  }
  check(`not within ${limit} ms: ${what}`, false);
  throw new Error(what);
}

async function switchTo(service) {
  await fetch(`/switch/${service}`);
}

// open opens the page of a service, counts its requests, and can hold their answers back.
async function open(service, width = 1280, height = 720) {
  await switchTo(service);
  Object.assign(frame.style, {width: `${width}px`, height: `${height}px`});
  frame.src = '/';
  await new Promise(done => { frame.onload = done; });
  const {fetch} = frame.contentWindow;
  requests = {sent: 0, inFlight: 0, most: 0, others: 0, delay: 0};
  frame.contentWindow.fetch = async (url, options) => {
    if (url !== './') requests.others++;
    if (url !== './') return fetch(url, options);
    requests.sent++;
    requests.most = Math.max(requests.most, ++requests.inFlight);
    try {
      const response = await fetch(url, options);
      await new Promise((done, fail) => {
        options.signal?.addEventListener('abort', () => fail(options.signal.reason));
        setTimeout(done, requests.delay);
      });
      return response;
    } finally {
      requests.inFlight--;
    }
  };
}

// pause waits for the answers in flight, so that what is read afterwards is one state.
async function pause() {
  $('#pause').click();
  await until('no request is in flight', () => requests.inFlight === 0);
  await sleep(0);
}

function setRate(rate) {
  $('#rate').value = rate;
  $('#rate').dispatchEvent(new Event('input'));
}

function setClock(later) {
  const {Date} = frame.contentWindow, {now} = Date;
  Date.now = () => now.call(Date) + later;
}

async function put(change) {
  const response = await fetch('/rehearsal', {method: 'PUT', body: change, headers: {Accept: 'application/json'}});
  return response.json();
}

const rowOf = name => $$('#revisions li').find(item => item.querySelector('.name').textContent.split('-').at(-1) === name);
const partOf = (name, part) => rowOf(name)?.querySelector(`.${part}`);
const shareOf = name => parseFloat(partOf(name, 'share')?.textContent);
const total = () => Number(text('#total').replace(/\D/g, ''));
const pressed = () => $$('#changes [aria-pressed=true]').map(button => button.dataset.change).join();
const marks = () => $$('#marks li').map(mark => mark.innerText.trim().replace(/\d\d:\d\d:\d\d/, 'TIME'));
const columns = () => $$('#columns > span').map(column => [...column.children]);
const counts = items => Object.fromEntries([...Map.groupBy(items, item => item)].map(([item, all]) => [item, all.length]));

// ---------- Rehearsals ----------

scenario('the files in order', async () => {
  await open('rehearsal');
  const {files} = await (await fetch('/rehearsal', {headers: {Accept: 'application/json'}})).json();
  setRate(50);
  await until('the first file is marked', () => pressed() === files[0].file);
  equal('buttons', $$('#files button').map(button => button.innerText), files.map(({file, does}) => `${file}\n${does}`));
  equal('marks before any change', marks(), []);
  const top = $('#course').offsetTop;
  const canary = $('#canary').dataset.change;
  const changes = [{file: canary, split: canary}, ...files.slice(1), files[1], files[0]];
  for (const {file, split} of changes) {
    $(`[data-change="${file}"]`).click();
    await until(`${file} is marked`, () => pressed() === file && text('#said').startsWith(`${file} since `));
    equal('the split', (await (await fetch('/rehearsal')).text()).trim(), split);
    equal('the percents to edit', $('#split').value, split);
    await sleep(3000);
    const expected = Object.fromEntries(split.split(',').map(target => target.split('=')));
    for (const name of Object.keys({...expected, v1: '', v2: ''})) {
      const percent = Number(expected[name] ?? 0), mark = partOf(name, 'mark');
      equal(`${name} after ${file}`, partOf(name, 'expected').innerText, `${percent}%`);
      equal(`its mark`, [mark.style.left, mark.checkVisibility()], [`${percent}%`, true]);
      check(`${name} has ${shareOf(name)}% after ${file}`, Math.abs(shareOf(name) - percent) < 3);
    }
    const alone = expected.v3 === '0' && `v3 alone answers at latest.localhost:${location.port}`;
    equal('the link to the latest revision', isShown('#alone') && text('#alone'), alone);
    equal(`what ${file} moves`, $('#course').offsetTop, top);
  }
  equal('the link', $('#alone').href, `http://latest.localhost:${location.port}/`);
  equal('marks', marks(), changes.map(({file}, n) => `${n + 1} TIME ${file}`).reverse());
  equal('lines', $$('#notes .line').map(line => line.innerText), changes.map((_, n) => `${n + 1}`));
  const [was] = $$('#notes .line').map(line => line.offsetLeft);
  await sleep(9000);
  const moved = (was - $('#notes .line').offsetLeft) / $('#timeline').offsetWidth;
  check(`in 9 of 180 s a line has moved by ${moved}`, Math.abs(moved - .05) < .005);
  setClock(200_000);
  await sleep(1000);
  equal('marks and lines after the timeline', [marks(), $$('#notes .line').length], [[], 0]);
});

scenario('shares and dots', async () => {
  await open('rehearsal');
  await put('v1=40,v2=30,v3=30');
  setRate(50);
  await until('the split is marked', () => pressed() === 'revision-v3-2.yaml');
  await sleep(8000);
  await pause();
  const dots = $$('#dots .dot:not(.before)'), titles = counts(dots.map(dot => dot.title.split('-').at(-1)));
  const parts = ['v1', 'v2', 'v3'].map(name => `${(100 * titles[name] / 396).toFixed(1)}%`);
  equal('shares', ['v1', 'v2', 'v3'].map(name => partOf(name, 'share').innerText), parts);
  check('they are of 396', /^of the latest 396 answers since \d\d:\d\d:\d\d$/.test(text('#latest')));
  const looks = dots.map(dot => `${dot.title} ${dot.innerText} ${getComputedStyle(dot).backgroundColor}`);
  equal('looks', Object.keys(counts(looks)).sort(), [
    'stock-service-example-v1 v1 rgb(0, 114, 178)',
    'stock-service-example-v2 v2 rgb(230, 159, 0)',
    'stock-service-example-v3 v3 rgb(0, 158, 115)',
  ]);
  equal('rings', $$('#dots .newest').length, 1);
  check('facts', /^in all \d+ requests · median [\d.]+ ms · 99% in [\d.]+ ms$/.test(partOf('v1', 'facts').innerText));
  const [, column] = columns().reverse(), height = $('#timeline').offsetHeight;
  for (const {offsetHeight, style} of column) {
    const all = column.reduce((sum, slice) => sum + Number(slice.style.flexGrow), 0);
    check(`a slice of ${offsetHeight} px of ${height}`, Math.abs(offsetHeight / height - style.flexGrow / all) < .03);
  }
  check('in text', /^Shares by half minute, the oldest first: (\d\d:\d\d:\d\d no answers; ){5}\d\d:\d\d:\d\d stock-service-example-v1 \d+\.\d%, .*-v2 .*-v3 [\d.]+%$/.test($('#columns').ariaLabel));
  check('minutes', $$('#minutes span').every(label => /^\d\d:\d\d$/.test(label.textContent)));
});

scenario('changes by others, and late answers', async () => {
  await open('rehearsal');
  await until('v1 has all', () => shareOf('v1') === 100 && total() > 20);
  requests.delay = 500; // so that answers of the old split come after the change
  for (const [split, up, down] of [['v2=100', 'v2', 'v1'], ['v1=100', 'v1', 'v2']]) {
    await put(split);
    await until(`${split} shows`, () => shareOf(up) === 100, 3000);
    for (let n = 0; n < 30; n++, await sleep(100)) check(`${down} has a share after ${split}`, shareOf(down) === 0);
  }
  $('[data-change="v1=95,v2=5"]').click(); // and its answer comes before those that are held back
  for (let n = 0; n < 10; n++, await sleep(100)) check('late answers count', !shareOf('v2'));
  await put('revision-v1.yaml');
  await until('the file is marked', () => pressed() === 'revision-v1.yaml');
  await sleep(2000);
  await pause();
  const [of] = text('#latest').match(/\d+/);
  equal('dots of now', $$('#dots [title]:not(.before)').length, Number(of));
  equal('dots of before', $$('#dots .before[title]').length, total() - of);
  equal('changes', marks().length, 4);
  await pause();
  await put('revision-v2.yaml');
  await until('v2', () => pressed() === 'revision-v2.yaml');
  await put('revision-v3.yaml');
  await put('v1=50,v2=50'); // as the file has it, but v3 is the latest now
  await until('no file is marked', () => pressed() === '');
  await put('revision-v2.yaml');
  await until('the file is marked again', () => pressed() === 'revision-v2.yaml');
});

scenario('failures', async () => {
  await open('bad v3');
  requests.delay = 20;
  setRate(50);
  await until('300 answers', () => total() >= 300);
  await pause();
  const [, failed, mine, share] = partOf('v3', 'alarm').innerText.match(/^(\d+) of (\d+) failed, (\S+)%\. Roll back: press revision-v2.yaml\.$/);
  equal('share of failures', share, (100 * failed / mine).toFixed(1));
  check('failures in all', text('#failed') === `${failed} failed, ${(100 * failed / total()).toFixed(1)}%`);
  equal('by kind', $$('#failures li').map(item => item.innerText.split(/\s+/).slice(-4).join(' ')), [`500 × ${failed} stock-service-example-v3`]);
  const crossed = $$('#dots .failed').map(dot => [dot.title, dot.innerText, getComputedStyle(dot).backgroundColor,
    getComputedStyle(dot).backgroundImage.includes('linear-gradient(to right top')].join());
  equal('dots', counts(crossed), {'500 from stock-service-example-v3,v3,rgb(0, 158, 115),true': Number(failed)});
  const facts = partOf('v3', 'facts').innerText, latency = parseFloat(facts.split('median ')[1]);
  check('facts', facts.startsWith(`in all ${mine} requests, ${failed} failed · median ${latency} ms · 99% in `));
  check(`${latency} ms`, latency >= 20 && latency < 60);
  check('the bar', Math.abs(parseFloat(partOf('v3', 'bad').style.width) - 100 * failed / total()) < .1);
  equal('other alarms', ['v1', 'v2'].map(name => partOf(name, 'alarm').innerText), ['', '']);
  await pause();
  $('[data-change="revision-v2.yaml"]').click();
  await until('v3 has nothing', () => shareOf('v3') === 0 && partOf('v3', 'expected').innerText === '0%' && !isShown('.alarm'));
});

scenario('percents', async () => {
  await open('rehearsal');
  await until('v1 is marked', () => pressed() === 'revision-v1.yaml');
  const type = percents => {
    $('#split').select();
    frame.contentDocument.execCommand('insertText', false, percents);
  };
  const color = () => getComputedStyle($('#said')).color;
  const plain = color();
  type('v1=70,v2=50');
  $('#percents button').click();
  await until('the refusal', () => text('#said') === 'Not changed: the percents add up to 120, not to 100');
  check('it looks like one', color() !== plain);
  await put('v1=90,v2=0,v3=10');
  await until('somebody else has', () => text('#said').startsWith('v1=90,v2=0,v3=10 since ') && color() === plain);
  equal('what is being typed', $('#split').value, 'v1=70,v2=50');
  equal('marked', pressed(), '');
  type('v1=70, v2=20, blue=10'); // a name that no file has
  $('#percents button').click();
  await until('the change', () => text('#said').startsWith('v1=70,v2=20,blue=10 since '));
  equal('the input', $('#split').value, 'v1=70,v2=20,blue=10');
  equal('expected', partOf('blue', 'expected').innerText, '10%');
  check('no link', !isShown('#alone'));
  await switchTo('gone');
  $('#files button').click();
  await until('the rehearsal is gone', () => text('#said') === 'The rehearsal does not answer: the split may not have changed.');
  await until('the banner', () => isShown('#banner'));
  await switchTo('plain');
  await until('no rehearsal', () => !['#rehearsal', '#percents', '#heads', '#marks', '.mark', '.expected'].some(isShown));
  await switchTo('rehearsal');
  await until('it is back', () => pressed() === '' && isShown('#rehearsal') && text('#said').startsWith('v1=70'));
});

scenario('preview', async () => {
  await open('bad v3');
  for (const name of ['v3', 'v2']) {
    await put(`revision-${name}.yaml`);
    await until(`${name} alone`, () => frame.contentDocument.title === `Only ${name} · Traffic split`);
    check('since', new RegExp(`^Only stock-service-example-${name} has answered here since \\d\\d:\\d\\d:\\d\\d\\.$`).test(text('#only')));
  }
  await sleep(2000);
  equal('shares', [shareOf('v3') < 100, shareOf('v2') > 0], [true, true]);
  equal('about a rehearsal', [isShown('#rehearsal'), requests.others], [false, 0]);
  await switchTo('404'); // the tag is gone
  await until('nobody alone', () => isShown('#banner') && frame.contentDocument.title === 'Traffic split' && !isShown('#only'));
});

// ---------- Clusters and outages ----------

scenario('a cluster', async () => {
  await open('v1 of one pod');
  setRate(20);
  await until('1 pod', () => partOf('v1', 'facts')?.innerText.includes(' requests · 1 pod · median '));
  await until('v1 alone', () => frame.contentDocument.title === 'Only v1 · Traffic split' && total() >= 100);
  await switchTo('v2 of three pods');
  await until('nobody alone', () => shareOf('v2') > 0 && frame.contentDocument.title === 'Traffic split', 2000);
  await sleep(7000);
  check(`v1's answers of the last 10 s: ${shareOf('v1')}%`, shareOf('v1') > 20 && shareOf('v1') < 40);
  await sleep(4000);
  equal('shares', [shareOf('v1'), shareOf('v2')], [0, 100]);
  check('3 pods', partOf('v2', 'facts').innerText.includes(' · 3 pods · '));
  check('of 10 s', /^of the 2\d\d answers of the last 10 s$/.test(text('#latest')));
  await switchTo('plain');
  await sleep(11_000);
  check('no pods', !partOf('v2', 'facts').innerText.includes('pod'));
  equal('a rehearsal', [isShown('#rehearsal'), isShown('.expected'), requests.others], [false, false, 0]);
  equal('marks and dimmed dots', [$$('#notes .line').length, $$('#dots .before').length], [0, 0]);
  const [, kept] = text('#latest').match(/(\d+) answers/);
  await pause();
  await sleep(20_000);
  check(`paused, ${kept} answers stay`, text('#latest').includes(' answers of') && shareOf('v1') === 100);
});

scenario('many names', async () => {
  await open('many names');
  setRate(50);
  await until('all', () => $$('#failures li').length > 12 && total() >= 200);
  await pause();
  const names = $$('#revisions .name').map(({innerText}) => innerText), numbered = names.filter(name => name.startsWith('r-'));
  equal('rows', [names.length, $$('#failures li').length], [13, 13]); // and the others
  check('v1, which sends no X-Revision', partOf('v1', 'facts').innerText.startsWith('in all 5'));
  check('others', shareOf('others') > 20 && text('#failures').includes('others'));
  equal('order', numbered, numbered.toSorted((a, b) => a.slice(2) - b.slice(2)));
});

scenario('server gone', async () => {
  await open('rehearsal');
  setRate(50);
  await until('answers', () => total() >= 150);
  check('no banner', !isShown('#banner'));
  await switchTo('gone');
  await until('the banner', () => /^Nothing answers here since \d\d:\d\d:\d\d\. Trying again…$/.test(text('#banner')));
  const {sent} = requests;
  await sleep(10_000);
  equal('requests in 10 s', Math.abs(requests.sent - sent - 10) < 2, true);
  await switchTo('rehearsal');
  await until('no banner', () => !isShown('#banner'));
  await until('the full rate', () => requests.sent > sent + 100, 4000);
  check('a gap', /#_{3,}#/.test(columns().map(column => column.length ? '#' : '_').join('')));
  const failed = Number(text('#failed').split(' ')[0]);
  equal('failures', [failed > 10, text('#failures .kind')], [true, `no answer × ${failed}`]);
});

scenario('service gone', async () => {
  await open('v1 of one pod');
  await sleep(5000);
  await switchTo('404');
  await until('the banner', () => /^Every answer since \d\d:\d\d:\d\d is 404, from no revision\.$/.test(text('#banner')), 5000);
  await sleep(12_000);
  equal('no share', partOf('v1', 'share').innerText, '–');
  equal('failures alone', columns().at(-2).map(slice => slice.className), ['bad']);
  await switchTo('v1 of one pod');
  await until('no banner', () => !isShown('#banner'), 2000);
});

scenario('slow answers', async () => {
  await open('v1 of one pod');
  requests.delay = 1000;
  setRate(50);
  await sleep(12_000);
  equal('requests in flight', requests.most, 5); // of the 6 connections that browsers open to one host
  equal('the rate', text('#sent'), '· actually sent: 5.0');
  check('latencies', / · median 1,0\d0 ms · 99% in 1,0\d0 ms$/.test(partOf('v1', 'facts').innerText));
  setRate(1);
  await sleep(8000);
  equal('the rate', text('#sent'), '');
  requests.delay = 3_600_000;
  setRate(10);
  await until('the banner', () => /^Nothing has answered within 10 s since \d\d:\d\d:\d\d: too slow\. Trying again…$/.test(text('#banner')), 12_000);
  check('its kind', text('#failures').startsWith('✕') && text('#failures .kind').startsWith('no answer in 10 s × '));
});

// ---------- Controls, time and room ----------

scenario('controls', async () => {
  await open('rehearsal');
  await until('the files are shown', () => isShown('#canary'));
  setRate(15);
  await sleep(300);
  equal('rate', text('label'), '15 requests per second');
  const {sent} = requests;
  await sleep(10_000);
  check(`${requests.sent - sent} requests in 10 s`, Math.abs(requests.sent - sent - 150) < 3);
  await pause();
  const paused = requests.sent;
  await sleep(5000);
  equal('while paused', [$('#pause').textContent, requests.sent], ['Resume', paused]);
  await pause();
  await until('it goes on', () => requests.sent > paused + 5 && $('#pause').textContent === 'Pause');
  await until('not watched', () => $$('#notes .gap').some(gap => gap.innerText === 'not watched' && gap.offsetWidth > 5));
  // The keyboard reaches them all, and one sees where it is.
  const controls = $$('button, input, a[href]').filter(control => control.checkVisibility());
  equal('controls', controls.map(({id, innerText}) => id || innerText.split('\n')[0]), ['rate', 'pause',
    ...$$('#files .file').map(file => file.innerText), 'canary', 'split', 'Apply']);
  for (const control of controls) {
    control.focus({focusVisible: true});
    const {outlineStyle, outlineWidth} = getComputedStyle(control);
    equal(`focus on ${control.id}`, [frame.contentDocument.activeElement === control, control.tabIndex, outlineStyle, outlineWidth], [true, 0, 'solid', '2px']);
  }
});

scenario('hidden tab', async () => {
  await open('v1 of one pod');
  await sleep(4000);
  const {contentDocument} = frame, hide = value => {
    Object.defineProperty(contentDocument, 'hidden', {value, configurable: true});
    contentDocument.dispatchEvent(new Event('visibilitychange'));
  };
  hide(true);
  await sleep(500);
  const {sent} = requests;
  await sleep(20_000);
  equal('requests while hidden', requests.sent, sent);
  hide(false);
  await sleep(4000);
  equal('gaps', $$('#notes .gap').map(gap => [gap.innerText, Math.round(180 * gap.offsetWidth / $('#timeline').offsetWidth / 2)]), [['not watched', 10]]);
  check('a gap', /#_{8,}#/.test(columns().map(column => column.length ? '#' : '_').join('')));
});

scenario('hours', async () => {
  await open('many names');
  setRate(50);
  await sleep(10_000);
  const elements = () => $$(':not(#columns *)').length, before = elements();
  await sleep(10_000);
  equal('elements', elements(), before);
  equal('columns', columns().length, 91);
  check('columns have few slices each', columns().slice(-9, -1).every(({length}) => length >= 2 && length <= 14));
  for (const shift of [24 * 3600_000, -3600_000]) {
    setClock(shift);
    await sleep(500);
    equal('columns with answers', columns().filter(({length}) => length > 0).length, 1);
  }
});

scenario('room', async () => {
  for (const [width, height, dots] of [[320, 700, 196], [360, 740, 196], [768, 1024, 396], [1280, 720, 396], [1920, 1080, 396]]) {
    for (const scheme of ['light', 'dark']) {
      const size = `${width} × ${height}, ${scheme}`, long = 'x'.repeat(40);
      frame.style.colorScheme = scheme;
      await open('rehearsal', width, height);
      await put('revision-v3-2.yaml');
      setRate(50);
      await until('the file is marked', () => pressed() === 'revision-v3-2.yaml' && $$('#revisions li').length >= 3);
      const dark = getComputedStyle(frame.contentDocument.body).backgroundColor === 'rgb(15, 18, 22)';
      equal(`${size}: dark`, dark, scheme === 'dark');
      const box = selector => $(selector).getBoundingClientRect();
      if (height === 720 || height === 740) { // What changes is in sight of the buttons that change it.
        check(`${size}: in sight`, box('#changes').top >= 0 && partOf('v3', 'share').getBoundingClientRect().bottom <= height && box('#timeline').bottom <= height);
      }
      check(`${size}: order`, box('#changes').bottom < box('#timeline').top && box('#revisions').bottom < box('#dots').top && box('#dots').bottom < box('#all').top);
      equal(`${size}: dots`, $$('#dots > *').length, dots);
      equal(`${size}: dots in the last row`, $$('#dots > *').filter(dot => dot.offsetTop === $('#dots').lastElementChild.offsetTop).length,
        $$('#dots > *').filter(dot => dot.offsetTop === $('#dots').firstElementChild.offsetTop).length);
      await put(`v1=50,${long}=50`);
      await until('the long name', () => partOf(long, 'share') && shareOf(long) > 0);
      equal(`${size}: width`, frame.contentDocument.documentElement.scrollWidth, width);
      const facts = partOf(long, 'facts'), {offsetHeight} = facts;
      facts.textContent = 'in all 123,456,789,012 requests, 12,345,678,901 failed · 1,234 pods · median 9,876 ms · 99% in 9,876 ms';
      equal(`${size}: height of the facts`, facts.offsetHeight, offsetHeight);
      await put('v1=100');
    }
  }
});

scenario('complaints are heard', async () => {
  await open('plain');
  const {contentWindow, contentDocument} = frame;
  contentWindow.setTimeout(() => { throw new Error('thrown'); });
  contentWindow.console.error('an error');
  contentDocument.body.setAttribute('style', 'color: red');
  contentWindow.fetch('https://elsewhere.invalid/').catch(() => {});
  await sleep(1000);
});

// ---------- The verdict ----------

scenarios.get(location.hash.slice(1))().catch(error => wrong.push(`${error.stack}`)).finally(() => {
  document.querySelector('pre').textContent = wrong.join('\n') || 'ok';
  frame.remove(); // and with it the page's timers
});
