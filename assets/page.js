// Everything that happens in the browser alone: looking at the original, the wipe, the scrub, keys, copying.
// It runs once, with the element of the result.

const find = selector => element.querySelector(selector);
const range = name => document.querySelector(`#slider-${name} input[type=range]`);
const isTyping = target => target.matches('textarea, select, [contenteditable], input:not([type=range]):not([type=checkbox]):not([type=radio])');

function showOriginal(on) {
  const figure = find('.ms-figure');
  if (figure) figure.classList.toggle('ms-is-original', on);
}

element.addEventListener('pointerdown', event => {
  if (event.target.closest('.ms-hold, .ms-stage') && find('.ms-original')) {
    event.preventDefault();
    showOriginal(true);
  }
});
for (const name of ['pointerup', 'pointercancel', 'blur']) window.addEventListener(name, () => showOriginal(false));
element.addEventListener('keydown', event => {
  if (event.target.matches('.ms-hold') && [' ', 'Enter'].includes(event.key)) showOriginal(true);
});
element.addEventListener('keyup', () => showOriginal(false));
element.addEventListener('click', event => {
  if (event.target.closest('.ms-full')) {
    if (document.fullscreenElement) document.exitFullscreen(); else find('.ms-figure').requestFullscreen();
  }
});
document.addEventListener('click', event => {
  if (!event.target.closest('.ms-outputs')) return;
  document.querySelector('#drawers button[role=tab]').click();
  document.querySelector('#drawers').scrollIntoView({block: 'nearest'});
});

// A picture that the browser cannot show, broken or of a kind that it does not know, leaves its box empty.
for (const [name, seen] of [['error', 'hidden'], ['load', '']]) document.addEventListener(name, event => {
  if (event.target.matches?.('.image-frame img')) event.target.style.visibility = seen;
}, true);

// The wipe: the share of the photograph from the left. It stays where it is when another picture comes.
let wipe = 0;
function applyWipe() {
  const figure = find('.ms-figure');
  if (figure) figure.style.setProperty('--wipe', `${wipe}%`);
  const input = find('.ms-wipe'), button = find('.ms-auto');
  if (input) input.value = wipe;
  if (button) button.setAttribute('aria-pressed', String(sweep !== null));
}
element.addEventListener('input', event => {
  if (!event.target.matches('.ms-wipe')) return;
  sweep = null;
  wipe = Number(event.target.value);
  applyWipe();
});

// The wipe by itself, there and back, until somebody takes it over; never for who asked their system for less motion.
const SWEEP = 4000;  // milliseconds there and back: slow enough to compare what passes under the line
let sweep = null;  // when it began
function move(now) {
  if (sweep === null) return;
  wipe = 50 - 50 * Math.cos(2 * Math.PI * (now - sweep) / SWEEP);
  applyWipe();
  requestAnimationFrame(move);
}
element.addEventListener('click', event => {
  if (!event.target.closest('.ms-auto')) return;
  const isStill = matchMedia('(prefers-reduced-motion: reduce)').matches;
  sweep = sweep === null && !isStill ? performance.now() : null;
  applyWipe();
  requestAnimationFrame(move);
});
watch('value', applyWipe);

// The scrub: while drafts over strength are there, moving the slider cross-fades between them without a call. After a
// rest the slider's own event goes on, and the true draft and picture follow.
const REST = 300;  // milliseconds: longer than between two events of a drag, shorter than a pause for thought
let resting = null, isOurs = false;

function scrub(value) {
  const figure = find('.ms-figure');
  const drafts = figure ? JSON.parse(figure.dataset.scrub || '[]') : [];
  if (drafts.length < 2) return false;
  let at = drafts.findIndex(([strength]) => strength >= value);
  if (at < 0) at = drafts.length - 1;
  const [high, over] = drafts[at], [low, under] = drafts[Math.max(at - 1, 0)];
  let fade = figure.querySelector('.ms-scrub');
  if (!fade) {
    fade = document.createElement('div');
    fade.className = 'ms-scrub';
    fade.append(new Image(), new Image());
    figure.querySelector('.ms-stage').append(fade);
  }
  const [back, front] = fade.children;
  for (const image of [back, front]) image.alt = '';
  if (!back.src.endsWith(under)) back.src = under;
  if (!front.src.endsWith(over)) front.src = over;
  front.style.opacity = high > low ? (value - low) / (high - low) : 1;
  figure.querySelector('figcaption').textContent = figure.dataset.preview;
  return true;
}
function endScrub() {
  const fade = find('.ms-scrub');
  if (fade) fade.remove();
}
watch('value', endScrub);

document.addEventListener('input', event => {
  if (isOurs || event.target !== range('strength') || !scrub(Number(event.target.value))) return;
  event.stopImmediatePropagation();
  const {value, min, max, style} = event.target;  // the number and the filled part are what Gradio would set
  style.setProperty('--range_progress', `${100 * (value - min) / (max - min)}%`);
  const number = document.querySelector('#slider-strength input[type=number]');
  if (number) number.value = value;
  clearTimeout(resting);
  resting = setTimeout(() => {
    isOurs = true;
    event.target.dispatchEvent(new Event('input', {bubbles: true}));
    isOurs = false;
  }, REST);
}, true);

// Keys: off in fields for text, and where the person switched them off.
document.addEventListener('keydown', event => {
  const keys = document.querySelector('#keys input');
  if (event.ctrlKey || event.metaKey || event.altKey || (keys && !keys.checked) || isTyping(event.target)) return;
  const press = id => document.querySelector(`button#${id}, #${id} button`).click();
  if (event.key === 'Escape') press('stop');
  else if (event.key === 'Enter' && !event.target.closest('button, a, summary, [role=tab]')) press('stylize');
  else if (event.key.toLowerCase() === 'z' && !event.repeat) showOriginal(true);
});
document.addEventListener('keyup', event => { if (event.key.toLowerCase() === 'z') showOriginal(false); });

// Pasting a picture anywhere. It goes into the box that was touched last; after something else was touched, into the
// first empty one of photograph and style. A picture that stands there is replaced in its own box alone.
const BOXES = ['content', 'style-1', 'style-2', 'style-3'];
let touched = null;
for (const name of ['pointerdown', 'focusin']) {
  document.addEventListener(name, event => {
    touched = BOXES.find(id => event.target.closest(`#${id}`)) || null;
    document.querySelectorAll('.ms-full-boxes').forEach(said => said.remove());
  }, true);
}
document.addEventListener('paste', event => {
  const picture = [...event.clipboardData.files].find(file => file.type.startsWith('image/'));
  if (!picture || isTyping(event.target)) return;
  event.preventDefault();
  const free = ['content', 'style-1'].find(id => !document.querySelector(`#${id} img`));
  const input = document.querySelector(`#${touched || free} input[type=file]`);
  if (input) {
    const files = new DataTransfer();
    files.items.add(picture);
    input.files = files.files;
    input.dispatchEvent(new Event('change', {bubbles: true}));
  } else if (!document.querySelector('.ms-full-boxes')) {
    const said = document.createElement('p');
    said.className = 'ms-alert ms-full-boxes';
    said.setAttribute('role', 'alert');
    said.textContent = find('.ms-figure').dataset.full;
    document.querySelector('.ms-pair').after(said);
  }
});

// Copying settings; a link is made whole with this page's address.
document.addEventListener('click', async event => {
  const button = event.target.closest('.ms-copy');
  if (!button) return;
  const field = button.previousElementSibling.querySelector('input');
  const text = field.dataset.kind === 'link' ? location.origin + location.pathname + field.value : field.value;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    field.select();
    document.execCommand('copy');
  }
});
