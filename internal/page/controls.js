// ---------- Controls, and the start ----------

byID('changes').addEventListener('click', ({target}) => {
  const button = target.closest('button');
  if (button) change(button.dataset.change);
});

byID('percents').addEventListener('submit', event => {
  event.preventDefault();
  change(byID('split').value);
});

byID('pause').addEventListener('click', () => {
  paused = !paused;
  byID('pause').textContent = paused ? 'Resume' : 'Pause';
  schedule();
  render();
});

byID('rate').addEventListener('input', setRate);
document.addEventListener('visibilitychange', schedule);
setTimeout(reveal, 1000); // where nothing answers so soon
setRate(); // to what a browser may have kept over a reload

function setRate() {
  byID('rate-value').textContent = byID('rate').value;
  schedule();
}

// reveal shows the page when it is known whether this is a rehearsal, so that
// nothing moves afterwards.
function reveal() {
  document.querySelector('main').hidden = false;
}
