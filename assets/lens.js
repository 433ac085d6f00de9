// While the lens is open, a click on the picture asks where that spot looked. It runs with the element of the lens.

// Its element itself is out of sight while it is empty, its sentence never.
const isOpen = () => document.querySelector('#lens-note')?.offsetParent;
const stageAt = event => isOpen() && event.target.closest('#result .ms-stage');

// Where in its box the picture lies, which keeps its shape there.
function inside(stage) {
  const box = stage.getBoundingClientRect(), image = stage.querySelector('img');
  const scale = image ? Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight) : 0;
  const width = image ? image.naturalWidth * scale : box.width, height = image ? image.naturalHeight * scale : box.height;
  return {left: (box.width - width) / 2, top: (box.height - height) / 2, width, height, box};
}

document.addEventListener('pointerdown', event => { if (stageAt(event)) event.stopPropagation(); }, true);
document.addEventListener('click', event => {
  const stage = stageAt(event);
  if (!stage) return;
  const {left, top, width, height, box} = inside(stage);
  const across = (event.clientX - box.left - left) / width, down = (event.clientY - box.top - top) / height;
  if (Math.min(across, down) >= 0 && Math.max(across, down) <= 1) trigger('click', {pick: `${across} ${down}`});
});

// A ring marks the spot on the picture that was looked from.
watch('value', () => {
  const figure = element.querySelector('.ms-lens'), stage = document.querySelector('#result .ms-stage');
  const old = document.querySelector('.ms-spot');
  if (old) old.remove();
  if (!figure || !stage) return;
  const {left, top, width, height} = inside(stage), ring = document.createElement('div');
  ring.className = 'ms-spot';
  ring.style.left = `${left + figure.dataset.across * width}px`;
  ring.style.top = `${top + figure.dataset.down * height}px`;
  stage.append(ring);
});
