// What runs in the browser: drops and the camera, keys, blending and zooming a picture, dark and light.
// Nothing is judged here, and nothing is fetched from anywhere but the station.
'use strict';
(() => {
  const SENT_TOGETHER = 4;

  // ---- dark and light -------------------------------------------------------------------------------------------
  const setDark = (dark) => document.body.classList.toggle('dark', dark);
  const switchTheme = () => {
    const dark = !document.body.classList.contains('dark');
    setDark(dark);
    try { localStorage.setItem('defectflow-dark', dark ? '1' : '0'); } catch { /* private window */ }
  };
  const rememberedTheme = () => {
    try {
      const dark = localStorage.getItem('defectflow-dark');
      if (dark !== null) setDark(dark === '1');
    } catch { /* private window */ }
  };
  // Gradio sets its own choice once it has started, so ours comes after it.
  const watchStart = new MutationObserver(() => {
    if (document.getElementById('station-header')) { watchStart.disconnect(); rememberedTheme(); }
  });
  watchStart.observe(document.documentElement, {childList: true, subtree: true});

  // ---- keys -----------------------------------------------------------------------------------------------------
  // An element with data-key="x", or a Gradio button with the class key-x, is pressed by that key while it is visible.
  const visible = (element) => element.offsetParent !== null && !element.disabled;
  const typing = (element) => element && (element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName))
    && !(element.tagName === 'INPUT' && /^(range|checkbox|radio|button|file)$/.test(element.type));
  const NAMES = {ArrowLeft: 'left', ArrowRight: 'right', ArrowUp: 'up', ArrowDown: 'down', Enter: 'enter', ' ': 'space',
    Escape: 'escape', '+': 'plus', '-': 'minus'};
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (typing(event.target)) {  // out of the text, so that keys count again
      if (event.key === 'Escape' || (event.key === 'Enter' && event.target.closest('.answering'))) event.target.blur();
      return;
    }
    if (event.key === '?') return showKeys();
    if (event.key === 'Escape') document.getElementById('station-keys')?.remove();
    if (event.key === 'D' && event.shiftKey) return switchTheme();
    const key = NAMES[event.key] || event.key.toLowerCase();
    if (event.target.type === 'range' && /^(left|right|up|down)$/.test(key)) return;
    if (event.target.closest?.('[role=tab]') && /^(left|right)$/.test(key)) return;
    const wanted = [...document.querySelectorAll(`[data-key="${CSS.escape(key)}"], .key-${CSS.escape(key)}`)].find(visible);
    if (!wanted) return;
    event.preventDefault();
    const pressed = wanted.matches('button, a, input, label') ? wanted : wanted.querySelector('button, a, input') || wanted;
    if (wanted.matches('.key-focus')) pressed.focus();
    else if (pressed.matches('input:not([type=checkbox], [type=radio], [type=file])')) { pressed.focus(); pressed.select?.(); }
    else pressed.click();
  });
  const showKeys = () => {
    if (document.getElementById('station-keys')) return document.getElementById('station-keys').remove();
    const text = [...document.querySelectorAll('[data-keys-help]')].filter((e) => e.parentElement.offsetParent !== null);
    const box = document.createElement('div');
    box.id = 'station-keys';
    box.setAttribute('role', 'dialog');
    for (const part of text) box.insertAdjacentHTML('beforeend', part.innerHTML);
    box.addEventListener('click', () => box.remove());
    document.body.append(box);
  };

  // Whoever clicks a tab wants its page: the arrow keys belong to that page, and not to the tabs any more.
  document.addEventListener('click', (event) => { if (event.detail) event.target.closest?.('[role=tab]')?.blur(); });

  // ---- one place for clicks on what Python has written ------------------------------------------------------------
  document.addEventListener('click', (event) => {
    const action = event.target.closest?.('[data-do]');
    if (!action) return;
    const view = action.closest('.part')?.querySelector('.viewer');
    if (action.dataset.do === 'theme') switchTheme();
    if (action.dataset.do === 'keys') showKeys();
    if (action.dataset.do === 'zoom-in') zoomBy(view, 1.5);
    if (action.dataset.do === 'zoom-out') zoomBy(view, 1 / 1.5);
    if (action.dataset.do === 'zoom-reset') zoomTo(view, 1, 0, 0);
  });

  // ---- blending and zooming -----------------------------------------------------------------------------------------
  let blend = 70;
  const zoom = {scale: 1, x: 0, y: 0};
  const showBlend = () => document.querySelectorAll('.viewer').forEach((view) => {
    const over = view.querySelector('.over');
    if (over) over.style.opacity = blend / 100;
    const slider = view.parentElement.querySelector('[data-blend]');
    if (slider && slider.value !== String(blend)) slider.value = blend;
  });
  document.addEventListener('input', (event) => {
    if (!event.target.matches?.('[data-blend]')) return;
    blend = Number(event.target.value);
    showBlend();
  });
  const zoomTo = (view, scale, x, y) => {
    zoom.scale = Math.min(12, Math.max(1, scale));
    const {clientWidth: width, clientHeight: height} = view;
    zoom.x = Math.min(0, Math.max(width * (1 - zoom.scale), zoom.scale === 1 ? 0 : x));
    zoom.y = Math.min(0, Math.max(height * (1 - zoom.scale), zoom.scale === 1 ? 0 : y));
    view.querySelector('.layers').style.transform = `translate(${zoom.x}px, ${zoom.y}px) scale(${zoom.scale})`;
  };
  const zoomBy = (view, factor, x = view.clientWidth / 2, y = view.clientHeight / 2) => {
    const scale = Math.min(12, Math.max(1, zoom.scale * factor));
    zoomTo(view, scale, x - (x - zoom.x) * scale / zoom.scale, y - (y - zoom.y) * scale / zoom.scale);
  };
  document.addEventListener('wheel', (event) => {
    const view = event.target.closest?.('.viewer');
    if (!view) return;
    event.preventDefault();
    const box = view.getBoundingClientRect();
    zoomBy(view, event.deltaY < 0 ? 1.2 : 1 / 1.2, event.clientX - box.left, event.clientY - box.top);
  }, {passive: false});
  const fingers = new Map();
  document.addEventListener('pointerdown', (event) => {
    const view = event.target.closest?.('.viewer .layers')?.parentElement;
    if (!view) return;
    fingers.set(event.pointerId, {x: event.clientX, y: event.clientY, view});
    event.preventDefault();
  });
  document.addEventListener('pointermove', (event) => {
    const finger = fingers.get(event.pointerId);
    if (!finger) return;
    const others = [...fingers.entries()].filter(([id]) => id !== event.pointerId);
    if (others.length) {  // two fingers: pinch
      const other = others[0][1], box = finger.view.getBoundingClientRect();
      const before = Math.hypot(finger.x - other.x, finger.y - other.y);
      const after = Math.hypot(event.clientX - other.x, event.clientY - other.y);
      if (before > 0) zoomBy(finger.view, after / before, (event.clientX + other.x) / 2 - box.left, (event.clientY + other.y) / 2 - box.top);
    } else {
      zoomTo(finger.view, zoom.scale, zoom.x + event.clientX - finger.x, zoom.y + event.clientY - finger.y);
    }
    finger.x = event.clientX; finger.y = event.clientY;
  });
  for (const end of ['pointerup', 'pointercancel']) document.addEventListener(end, (event) => fingers.delete(event.pointerId));
  new MutationObserver((changes) => {
    const fresh = changes.some((change) => [...change.addedNodes].some((node) => node.querySelector?.('.viewer')));
    if (fresh) { zoom.scale = 1; zoom.x = zoom.y = 0; showBlend(); }
  }).observe(document.documentElement, {childList: true, subtree: true});

  // ---- drops ------------------------------------------------------------------------------------------------------
  const post = async (address, body) => {
    const answer = await fetch(address, {method: 'POST', body, headers: {'Content-Type': 'application/octet-stream'}});
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  };
  // Sends files; `begun(token, count)` is called once the first one has arrived, so that judging starts at once.
  const send = async (files, begun) => {
    const {drop} = await post('/drop');
    const waiting = [...files];
    const sendNext = async () => {
      const file = waiting.shift();
      try {
        await post(`/drop/${drop}?name=${encodeURIComponent(file.webkitRelativePath || file.relativePath || file.name)}`, file);
      } catch (problem) { console.warn(file.name, problem); }
    };
    await sendNext();
    begun(drop, files.length);
    await Promise.all(Array.from({length: SENT_TOGETHER}, async () => { while (waiting.length) await sendNext(); }));
    await post(`/drop/${drop}/end`);
  };
  const dropped = async (transfer) => {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
    const files = [];
    const walk = async (entry) => {
      if (entry.isFile) {
        const file = await new Promise((done, failed) => entry.file(done, failed));
        file.relativePath = entry.fullPath.slice(1);
        files.push(file);
        return;
      }
      const reader = entry.createReader();
      for (;;) {  // a reader gives a hundred entries at a time
        const some = await new Promise((done, failed) => reader.readEntries(done, failed));
        if (!some.length) return;
        for (const inner of some) await walk(inner);
      }
    };
    for (const entry of entries) await walk(entry);
    return files;
  };
  // Makes a gr.HTML with `.drop-zone` in it a place to drop pictures: trigger('dropped', {drop, expected}).
  const dropZone = (element, trigger) => {
    const problem = (error) => {
      const box = element.querySelector('.problem');
      if (box) box.textContent = error.message || String(error);
    };
    const take = async (files) => {
      problem('');
      if (!files.length) return;
      element.classList.add('sending');
      try { await send(files, (drop, expected) => trigger('dropped', {drop, expected})); } catch (error) { problem(error); }
      element.classList.remove('sending');
    };
    element.addEventListener('change', (event) => {
      if (event.target.type !== 'file') return;
      take([...event.target.files]);
      event.target.value = '';
    });
    // A drop anywhere on the page counts, or the browser would leave the page to show the picture.
    const here = () => element.offsetParent !== null && element.querySelector('.drop-zone');
    document.addEventListener('dragover', (event) => {
      if (!here()) return;
      event.preventDefault();
      element.classList.add('over');
    });
    document.addEventListener('dragleave', (event) => { if (!event.relatedTarget) element.classList.remove('over'); });
    document.addEventListener('drop', async (event) => {
      if (!here()) return;
      event.preventDefault();
      element.classList.remove('over');
      take(await dropped(event.dataTransfer));
    });
    element.addEventListener('click', (event) => {
      if (event.target.closest('[data-choose]')) element.querySelector('input[type=file]').click();
      if (event.target.closest('[data-camera]')) camera(element, take, problem);
    });
  };
  let shots = 0;
  const camera = async (element, take, problem) => {
    const box = element.querySelector('.camera');
    const stop = () => { box.srcObjectOf?.getTracks().forEach((track) => track.stop()); box.replaceChildren(); box.srcObjectOf = null; };
    if (box.srcObjectOf) return stop();
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({video: {width: {ideal: 4096}, height: {ideal: 4096}, facingMode: 'environment'}});
    } catch (error) { return problem(error); }
    box.srcObjectOf = stream;
    const video = Object.assign(document.createElement('video'), {srcObject: stream, autoplay: true, playsInline: true, muted: true});
    const shoot = Object.assign(document.createElement('button'), {type: 'button', textContent: box.dataset.shoot});
    shoot.dataset.key = 'space';
    shoot.addEventListener('click', () => {
      const canvas = Object.assign(document.createElement('canvas'), {width: video.videoWidth, height: video.videoHeight});
      canvas.getContext('2d').drawImage(video, 0, 0);
      shots += 1;
      canvas.toBlob((blob) => take([new File([blob], `camera-${String(shots).padStart(3, '0')}.png`)]), 'image/png');
    });
    box.replaceChildren(video, shoot);
  };
  // A click on something with data-<name> inside a gr.HTML becomes the event `name` with that value.
  const clicks = (element, trigger, ...names) => element.addEventListener('click', (event) => {
    for (const name of names) {
      const target = event.target.closest(`[data-${name}]`);
      if (target && element.contains(target)) return trigger(name, {[name]: target.dataset[name]});
    }
  });
  // An answer takes along what is written beside it, so that no comment goes with another part.
  const answers = (element, trigger, name) => {
    element.addEventListener('click', (event) => {
      const button = event.target.closest('[data-answer]');
      const written = (selector) => element.querySelector(selector)?.value || '';
      if (button) trigger(name, {answer: button.dataset.answer, kind: written('[data-kind]'), comment: written('[data-comment]')});
    });
    // Gradio changes what differs and leaves a text that was typed where it is, also under the next part.
    let about = '';
    new MutationObserver(() => {
      const now = element.querySelector('.answering')?.dataset.about || '';
      if (now !== about) element.querySelectorAll('.answering input').forEach((input) => { input.value = ''; });
      about = now;
    }).observe(element, {childList: true, subtree: true, attributes: true, attributeFilter: ['data-about']});
  };
  window.station = {dropZone, clicks, answers};
})();
