// ---------- Asking ----------

const inFlightLimit = 5; // browsers open 6 connections to a host, and one is for the rehearsal
const silenceLimit = 3; // requests without an answer, in a row
const rateTime = 5000; // ms that the rate actually sent is measured over
const noAnswer = 'no answer', tooSlow = `no answer in ${timeLimit / 1000} s`;

const silence = newRun(), strangers = newRun(), only = newRun();
const sends = []; // the times of those in the last rateTime
let timer, ticker, scheduled = 0, inFlight = 0;

// newRun is of answers that are alike, up to now.
function newRun() {
  return {length: 0, since: 0, kind: ''};
}

// schedule asks at the chosen rate, unless nobody looks.
function schedule() {
  clearInterval(timer);
  clearInterval(ticker);
  scheduled = performance.now();
  if (paused || document.hidden) return;
  tick();
  timer = setInterval(send, 1000 / (isSilent() ? 1 : byID('rate').valueAsNumber));
  ticker = setInterval(tick, 250);
}

async function send() {
  if (inFlight >= inFlightLimit) return; // a slow revision must not pile up requests
  inFlight++;
  sends.push(performance.now());
  const answer = await ask();
  inFlight--;
  if (answer.name) follow(answer);
  count(answer);
  listen(answer);
  if (paused) render(); // and else at the next tick
}

async function ask() {
  const answer = {name: '', pod: '', split: '', latest: '', failure: noAnswer, latency: 0, sent: Date.now(), start: performance.now()};
  try {
    const response = await fetch('./', {
      cache: 'no-store',
      headers: {Accept: 'text/plain'},
      signal: AbortSignal.timeout(timeLimit),
    });
    answer.name = header(response, 'X-Revision').slice(0, 100);
    answer.pod = header(response, 'X-Pod').slice(0, 100);
    answer.split = header(response, 'X-Rehearsal');
    answer.latest = header(response, 'X-Rehearsal-Latest');
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
  if (answer.name) {
    silence.length = strangers.length = 0;
    if (only.kind !== answer.name) only.length = 0;
    extend(only, answer.name, answer.sent);
  } else if (answer.failure === noAnswer || answer.failure === tooSlow) {
    extend(silence, answer.failure, answer.sent);
  } else {
    silence.length = 0;
    extend(strangers, answer.failure, answer.sent);
  }
  if (isSilent() !== was) schedule();
}

function extend(run, kind, since) {
  if (run.length++ === 0) Object.assign(run, {since, kind});
  else if (run.kind !== kind) run.kind = '';
}

function isSilent() {
  return silence.length >= silenceLimit;
}
