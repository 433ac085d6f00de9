// The filmstrip: the slider shows the picture that this step foresaw. It runs once, with the element of the strip.

function show() {
  const film = element.querySelector('.ms-film');
  if (!film) return;
  const step = Number(film.querySelector('input').value);
  film.querySelector('img').src = JSON.parse(film.dataset.frames)[step - 1];
  film.querySelector('figcaption').textContent = film.dataset.text.replace('{step}', step);
}
element.addEventListener('input', show);
watch('value', () => requestAnimationFrame(show));
