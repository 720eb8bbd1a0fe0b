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
  const begun = () => {  // tabs come a moment after the header
    if (!document.querySelector('#station-tabs [role=tab]') || !bar().pages) { setTimeout(begun, 50); return; }
    follow();
  };
  // Gradio sets its own choice once it has started, so ours comes after it.
  const watchStart = new MutationObserver(() => {
    if (!document.getElementById('station-header')) return;
    watchStart.disconnect();
    rememberedTheme();
    begun();
  });
  watchStart.observe(document.documentElement, {childList: true, subtree: true});

  // ---- the session's end --------------------------------------------------------------------------------------------
  // Pages keep asking. Once the station has said that the session is over, it is asked no more: one message stays.
  const ask = window.fetch.bind(window);
  const never = new Promise(() => {});
  let over = false;
  window.fetch = async (...what) => {
    if (over) return never;
    let answer = await ask(...what);
    if (answer.status !== 401) return answer;
    // Without users a page has a new session for the asking, after a restart, say; connection.js tells what went with it.
    const renewed = await ask('/', {cache: 'no-store'});
    if (renewed.ok && !renewed.redirected) answer = await ask(...what);
    if (answer.status !== 401) return answer;
    if (over) return never;  // asked before it was said
    over = true;
    const box = Object.assign(document.createElement('dialog'), {id: 'station-over'});
    const again = Object.assign(document.createElement('a'), {href: '/', className: 'link-button'});
    again.textContent = document.querySelector('[data-again]')?.dataset.again || '↻';
    box.append(Object.assign(document.createElement('p'), {textContent: (await answer.text()).replace(/^\w+: /, '')}), again);
    document.body.append(box);
    box.showModal();
    return never;
  };

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
    const key = NAMES[event.key] || event.key.toLowerCase();
    if (event.target.type === 'range' && /^(left|right|up|down)$/.test(key)) return;
    if (event.target.closest?.('[role=tab]') && /^(left|right)$/.test(key)) return;
    const wanted = [...document.querySelectorAll(`[data-key="${CSS.escape(key)}"], .key-${CSS.escape(key)}`)].find(visible);
    if (event.repeat && !/^(left|right|up|down|plus|minus)$/.test(key)) {  // held: nobody means to answer part after part
      if (wanted || key === 'enter') event.preventDefault();
      return;
    }
    if (event.key === '?') return showKeys();
    if (event.key === 'Escape') document.getElementById('station-keys')?.remove();
    if (event.key === 'D' && event.shiftKey) return switchTheme();
    if (!wanted) return;
    event.preventDefault();
    const inside = wanted.querySelector('input[type=range]') || wanted.querySelector('button, a, input, textarea');
    const pressed = wanted.matches('button, a, input, label') ? wanted : inside || wanted;
    if (wanted.matches('.key-focus')) pressed.focus();
    else if (pressed.matches('textarea, input:not([type=checkbox], [type=radio], [type=file])')) { pressed.focus(); pressed.select?.(); }
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

  // ---- before something is changed for everybody, or removed --------------------------------------------------------
  // The question stands at the button, or for a Gradio button in a hidden element that names it.
  document.addEventListener('click', (event) => {
    const button = event.target.closest?.('button');
    const asks = button?.id ? document.querySelector(`[data-asks="${CSS.escape(button.id)}"]`) : null;
    const question = button?.dataset.confirm || (asks ? asks.textContent.trim() : '');
    if (question && !window.confirm(question)) { event.preventDefault(); event.stopImmediatePropagation(); }
  }, true);

  // ---- the language: chosen once, and kept; the page comes anew in it -------------------------------------------------
  document.addEventListener('change', (event) => {
    if (event.target.id !== 'station-language') return;
    document.cookie = `defectflow_language=${event.target.value}; Path=/; Max-Age=31536000; SameSite=Strict`;
    location.reload();
  });

  // ---- addresses: the page that is open, and what is shown there, as #history/17 or #models/ring -----------------------
  const ROOMS = {history: ['#history-list', 'inspection'], models: ['#bundles', 'bundle']};
  const bar = () => document.querySelector('.station-bar')?.dataset || {};
  const labels = () => JSON.parse(bar().pages || '{}');  // name of a page in addresses -> what its tab says
  const say = (address) => history.replaceState(null, '', `#${address}`);
  document.addEventListener('click', (event) => {
    const tab = event.target.closest?.('#station-tabs button'), at = event.target.closest?.('[data-inspection], [data-bundle]');
    if (tab && (tab.role === 'tab' || tab.closest('.overflow-menu'))) {
      const label = tab.textContent.trim(), found = Object.entries(labels()).find(([, one]) => one === label);
      if (found) say(found[0]);
    }
    if (at?.dataset.inspection) say(`history/${at.dataset.inspection}`);
    if (at?.dataset.bundle) say(`models/${encodeURIComponent(at.dataset.bundle)}`);
  });
  // Asks for it as a click there would, once the page is ready for clicks.
  const goTo = (page, wanted, tries = 0) => {
    const [block, name] = ROOMS[page], ready = document.querySelector(`${block} [data-ready]`);
    if (!ready || !ready.textContent.trim()) { if (tries < 200) setTimeout(goTo, 100, page, wanted, tries + 1); return; }
    const asks = document.createElement('button');
    asks.dataset[name] = wanted;
    ready.append(asks);
    asks.click();
    asks.remove();
  };
  const follow = () => {
    const [page, wanted] = location.hash.slice(1).split('/').map(decodeURIComponent);
    const label = labels()[page];
    if (!label) return;
    openPage(label);
    if (wanted && ROOMS[page]) goTo(page, wanted);
  };
  window.addEventListener('hashchange', follow);

  // Tabs that have no room stand in Gradio's menu, as buttons without a role.
  const openPage = (name) => {
    const named = [...document.querySelectorAll('#station-tabs button')].filter((tab) => tab.textContent.trim() === name);
    (named.find((tab) => tab.role === 'tab') || named.at(-1))?.click();
  };

  // ---- one place for clicks on what Python has written ------------------------------------------------------------
  document.addEventListener('click', (event) => {
    if (event.target.closest?.('[role=tab]')) zoomOff();
    const action = event.target.closest?.('[data-do]');
    if (!action) return;
    const view = action.closest('.part')?.querySelector('.viewer');
    if (action.dataset.do === 'theme') switchTheme();
    if (action.dataset.do === 'keys') showKeys();
    if (action.dataset.do === 'page') {
      openPage(action.dataset.page);
    }
    if (action.dataset.do === 'zoom-in') zoomBy(view, 1.5);
    if (action.dataset.do === 'zoom-out') zoomBy(view, 1 / 1.5);
    if (action.dataset.do === 'zoom-reset') zoomOff();
    if (action.dataset.do === 'heat') { if (blend) warmth = blend; blend = blend ? 0 : warmth; showBlend(); }
    if (action.dataset.do === 'good') compare(action.getAttribute('aria-pressed') !== 'true');
    if (action.dataset.do === 'place') showPlace(action, view);
  });

  // ---- times ------------------------------------------------------------------------------------------------------
  // Python writes UTC; people read their own clock. What it is in UTC stays in the title. Gradio changes an element into
  // the next one, back to UTC, so attributes are watched as well.
  const two = (number) => String(number).padStart(2, '0');
  const localTime = (time) => {
    const at = new Date(time.dateTime), seconds = time.dataset.form === 'seconds';
    const short = seconds && at.getFullYear() === new Date().getFullYear();
    const parts = {'%Y': short ? '' : at.getFullYear(), '%m': two(at.getMonth() + 1), '%d': two(at.getDate())};
    const day = (document.documentElement.dataset.date || '%Y-%m-%d').replace(/%[Ymd]/g, (part) => parts[part]).replace(/^-|\/$/, '');
    time.textContent = `${day} ${two(at.getHours())}:${two(at.getMinutes())}` + (seconds ? `:${two(at.getSeconds())}` : '');
    time.dataset.local = time.dateTime;
  };
  const localTimes = () => {
    for (const time of document.querySelectorAll('time[datetime]')) if (time.dataset.local !== time.dateTime) localTime(time);
  };
  new MutationObserver(localTimes)
    .observe(document.documentElement, {childList: true, subtree: true, attributeFilter: ['data-local', 'datetime']});

  // ---- blending and zooming -----------------------------------------------------------------------------------------
  // Both are variables of the whole page: Gradio takes from an element what the next part's HTML does not say of it.
  const page = document.documentElement.style;
  let blend = 0, warmth = 70;  // heat on demand: it hides what it shows
  const zoom = {scale: 1, x: 0, y: 0};
  const showBlend = () => {
    page.setProperty('--blend', blend / 100);
    document.querySelectorAll('[data-blend]').forEach((slider) => { slider.value = blend; });
    document.querySelectorAll('[data-do=heat]').forEach((button) => button.setAttribute('aria-pressed', String(blend > 0)));
  };
  document.addEventListener('input', (event) => {
    if (event.target.matches?.('[data-blend]')) { blend = Number(event.target.value); showBlend(); }
    if (event.target.matches?.('[data-split]')) compare(true, Number(event.target.value));
  });
  const showZoom = () => {
    page.setProperty('--zoom', `translate(${zoom.x}px, ${zoom.y}px) scale(${zoom.scale})`);
    page.setProperty('--scale', zoom.scale);
  };
  const compare = (on, percent = 100) => {  // the good part lies over the picture, from the left edge to there
    page.setProperty('--good', on ? 1 : 0);
    page.setProperty('--split', `${percent}%`);
    document.querySelectorAll('[data-split]').forEach((slider) => { slider.value = on ? percent : 0; });
    document.querySelectorAll('[data-do=good]').forEach((button) => button.setAttribute('aria-pressed', String(on)));
  };
  const pressPlace = (chosen) => document.querySelectorAll('.place')
    .forEach((place) => place.setAttribute('aria-pressed', String(place === chosen)));
  const zoomOff = () => { zoom.scale = 1; zoom.x = zoom.y = 0; showZoom(); pressPlace(null); };
  const zoomTo = (view, scale, x, y) => {
    zoom.scale = Math.min(12, Math.max(1, scale));
    const {clientWidth: width, clientHeight: height} = view;
    zoom.x = Math.min(0, Math.max(width * (1 - zoom.scale), zoom.scale === 1 ? 0 : x));
    zoom.y = Math.min(0, Math.max(height * (1 - zoom.scale), zoom.scale === 1 ? 0 : y));
    showZoom();
  };
  const zoomBy = (view, factor, x = view.clientWidth / 2, y = view.clientHeight / 2) => {
    const scale = Math.min(12, Math.max(1, zoom.scale * factor));
    zoomTo(view, scale, x - (x - zoom.x) * scale / zoom.scale, y - (y - zoom.y) * scale / zoom.scale);
  };
  // A marked place, in shares of the picture, which stands in the middle of its view; pressed again: all of it.
  const showPlace = (place, view) => {
    if (place.getAttribute('aria-pressed') === 'true') return zoomOff();
    const [left, top, width, height] = place.dataset.place.split(' ').map(Number);
    const [wide, high] = view.dataset.size.split(' ').map(Number), {clientWidth, clientHeight} = view;
    const fit = Math.min(clientWidth / wide, clientHeight / high);
    const scale = Math.max(1.5, 0.5 / Math.max(width * wide * fit / clientWidth, height * high * fit / clientHeight));
    const x = clientWidth / 2 + (left + width / 2 - 0.5) * wide * fit, y = clientHeight / 2 + (top + height / 2 - 0.5) * high * fit;
    const within = Math.min(12, scale);
    zoomTo(view, within, clientWidth / 2 - within * x, clientHeight / 2 - within * y);
    pressPlace(place);
    view.scrollIntoView({block: 'nearest'});
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

  // ---- another part is shown ----------------------------------------------------------------------------------------
  // Gradio changes what is there into what shall be there, so a new part may be no new element but another attribute.
  const changed = (changes, selector) => changes.some((change) => change.type === 'attributes'
    ? change.target.matches(selector)
    : [...change.addedNodes].some((node) => node.matches?.(selector) || node.querySelector?.(selector)));
  const taken = new Set();
  new MutationObserver((changes) => {
    if (changed(changes, '.viewer img')) { zoomOff(); compare(false); }
    if (changed(changes, '[data-blend]')) showBlend();
    for (const link of document.querySelectorAll('[data-take-now]')) {  // one click makes and takes it; the link stays
      if (taken.has(link.href)) continue;
      taken.add(link.href);
      link.click();
    }
    if (changed(changes, '[data-chosen]')) requestAnimationFrame(markChosen);  // once the gallery has changed, too
  }).observe(document.documentElement, {childList: true, subtree: true, attributeFilter: ['src', 'href', 'data-chosen']});
  // The gallery is not sent again only because another of its tiles was chosen.
  const markChosen = () => {
    const chosen = document.querySelector('[data-chosen]')?.dataset.chosen;
    for (const tile of document.querySelectorAll('.tile[data-number]')) {
      tile.setAttribute('aria-pressed', String(tile.dataset.number === chosen));
      if (tile.dataset.number !== chosen) continue;
      const list = tile.closest('.gallery'), box = list.getBoundingClientRect(), at = tile.getBoundingClientRect();
      if (at.top < box.top) list.scrollTop -= box.top - at.top;
      if (at.bottom > box.bottom) list.scrollTop += at.bottom - box.bottom;
    }
  };

  // ---- drops ------------------------------------------------------------------------------------------------------
  const post = async (address, body) => {
    const answer = await fetch(address, {method: 'POST', body, headers: {'Content-Type': 'application/octet-stream'}});
    if (!answer.ok) throw Object.assign(new Error(await answer.text()), {status: answer.status});
    return answer.json();
  };
  const ENDED = 410;  // the station takes no more of a drop: somebody has stopped it, and the page says so
  const PAUSES_MS = [0, 1000, 3000];  // before each attempt to send a file
  const nameOf = (file) => file.relativePath || file.webkitRelativePath || file.name;
  // Sends files; `begun(token, count)` is called once the first one has arrived, so that judging starts at once. A file
  // that fails keeps no other back, nor the end, which the station waits for; it is thrown afterwards.
  const send = async (files, begun) => {
    const {drop, at} = await post('/drop');
    window.stationConnection?.sent(files, at);
    const waiting = [...files.entries()], failures = [];
    const sendNext = async () => {
      const [number, file] = waiting.shift();
      const name = encodeURIComponent(nameOf(file));
      const address = (what) => `/drop/${drop}${what}?number=${number}&name=${name}`;
      const attempts = [() => post(address(''), file), () => post(address(''), file), () => post(address('/lost'))];
      for (const [tries, attempt] of attempts.entries()) {  // the last one makes it a row that says so
        if (PAUSES_MS[tries]) await new Promise((done) => setTimeout(done, PAUSES_MS[tries]));
        try { await attempt(); return; } catch (problem) {
          if (problem.status === ENDED) { waiting.length = 0; return; }
          if (attempt === attempts.at(-1)) failures.push(problem);
        }
      }
    };
    await sendNext();
    begun(drop, files.length);
    await Promise.all(Array.from({length: SENT_TOGETHER}, async () => { while (waiting.length) await sendNext(); }));
    await post(`/drop/${drop}/end`).catch((problem) => { if (problem.status !== ENDED) failures.push(problem); });
    if (failures.length) throw failures[0];
  };
  const PICTURE = /^[^.].*\.(png|jpe?g|bmp|tiff?|webp)$/i;  // a folder holds other files as well, as a ZIP does
  const dropped = async (transfer) => {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
    const files = [];
    const walk = async (entry) => {
      if (entry.isFile) {
        const file = await new Promise((done, failed) => entry.file(done, failed));
        file.relativePath = entry.fullPath.slice(1);
        if (PICTURE.test(file.name) || entries.includes(entry)) files.push(file);
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
  // Wherever nothing takes pictures, the browser must not leave the station to show one.
  const hasFiles = (event) => event.dataTransfer?.types.includes('Files');
  document.addEventListener('dragover', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = 'none';
  });
  document.addEventListener('drop', (event) => { if (hasFiles(event)) event.preventDefault(); });
  // Makes a gr.HTML with `.drop-zone` in it a place to drop pictures: trigger('dropped', {drop, expected}).
  const dropZone = (element, trigger) => {
    const problem = (error) => {
      const box = element.querySelector('.problem');
      if (box) box.textContent = error.message || String(error);
    };
    const take = async (files) => {
      problem('');
      if (!files.length) return;
      try { await send(files, (drop, expected) => trigger('dropped', {drop, expected})); } catch (error) { problem(error); }
    };
    if (element.closest('#drop-zone')) window.station.judge = take;
    element.addEventListener('change', (event) => {
      if (event.target.type !== 'file') return;
      take([...event.target.files]);
      event.target.value = '';
    });
    // A drop anywhere on the page counts.
    const here = (event) => hasFiles(event) && element.offsetParent !== null && element.querySelector('.drop-zone');
    document.addEventListener('dragover', (event) => {
      if (!here(event)) return;
      event.dataTransfer.dropEffect = 'copy';
      element.classList.add('over');
    });
    document.addEventListener('dragleave', (event) => { if (!event.relatedTarget) element.classList.remove('over'); });
    document.addEventListener('drop', async (event) => {
      if (!here(event)) return;
      element.classList.remove('over');
      try {
        const files = await dropped(event.dataTransfer);
        if (files.length) await take(files); else problem(element.querySelector('[data-none]')?.dataset.none || '');
      } catch (error) { problem(error); }  // a folder that cannot be read
    });
    element.addEventListener('click', (event) => {
      if (event.target.closest('[data-choose]')) element.querySelector('input[type=file]').click();
      if (event.target.closest('[data-camera]')) camera(element, take, problem);
    });
  };
  // The camera takes pictures by hand, at intervals, or when something has moved and lies still again; never faster than
  // they are judged. The verdict of the latest one stands beside it, large.
  let shots = 0;
  const LOOK_MS = 150, STILL_MS = 600, GIVE_UP_MS = 20000, MOVED = 6;  // MOVED: mean difference of grey values, 0 to 255
  const make = (tag, properties) => Object.assign(document.createElement(tag), properties);
  const small = (video, canvas) => {  // 48 x 36 grey values
    const context = canvas.getContext('2d', {willReadFrequently: true});
    context.drawImage(video, 0, 0, canvas.width, canvas.height);
    const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
    return Float32Array.from({length: data.length / 4}, (_, pixel) => (data[4 * pixel] + data[4 * pixel + 1] + data[4 * pixel + 2]) / 3);
  };
  const apart = (one, other) => one.reduce((sum, value, pixel) => sum + Math.abs(value - other[pixel]), 0) / one.length;
  const camera = async (element, take, problem) => {
    const box = element.querySelector('.camera');
    if (box.stop) return box.stop();
    const said = JSON.parse(box.dataset.problems);
    if (!window.isSecureContext || !navigator.mediaDevices) return problem(said.insecure);
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({video: {width: {ideal: 4096}, height: {ideal: 4096}, facingMode: 'environment'}});
    } catch (error) { return problem(said[error.name] || `${said.other} (${error.message}).`); }
    const video = make('video', {srcObject: stream, autoplay: true, playsInline: true, muted: true});
    const shoot = make('button', {type: 'button', textContent: box.dataset.shoot});
    const when = make('select', {}), label = make('label', {textContent: box.dataset.when});
    for (const [value, called] of JSON.parse(box.dataset.triggers)) when.add(new Option(called, value));
    label.append(when);
    const result = make('output', {className: 'camera-result'}), results = JSON.parse(box.dataset.results);
    const tiny = make('canvas', {width: 48, height: 36});
    let awaited = null, at = 0, before = null, moved = false, stillSince = 0;
    const picture = () => {
      if (!video.videoWidth) return;  // it has not begun
      const canvas = make('canvas', {width: video.videoWidth, height: video.videoHeight});
      canvas.getContext('2d').drawImage(video, 0, 0);
      shots += 1;
      awaited = `camera-${String(shots).padStart(3, '0')}.png`;
      at = performance.now();
      result.textContent = '…';
      result.dataset.decided = '';
      const name = awaited;
      canvas.toBlob((blob) => take([new File([blob], name)]), 'image/png');
    };
    const look = () => {
      const latest = document.querySelector('[data-latest]');
      if (awaited && latest?.dataset.latest === awaited) {
        awaited = null;
        result.dataset.decided = latest.dataset.decided;
        result.textContent = results[latest.dataset.decided];
      }
      const now = performance.now();
      if (when.value === 'hand' || !video.videoWidth || (awaited && now - at < GIVE_UP_MS)) return;
      if (when.value !== 'motion') { if (now - at >= 1000 * Number(when.value)) picture(); return; }
      const seen = small(video, tiny);
      if (before && apart(before, seen) > MOVED) { moved = true; stillSince = now; }
      before = seen;
      if (moved && now - stillSince >= STILL_MS) { moved = false; picture(); }
    };
    const timer = setInterval(look, LOOK_MS);
    box.stop = () => {
      clearInterval(timer);
      stream.getTracks().forEach((track) => track.stop());
      box.replaceChildren();
      box.stop = null;
    };
    shoot.dataset.key = 'space';
    shoot.addEventListener('click', picture);
    box.replaceChildren(video, result, shoot, label);
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
      const offered = event.target.closest('[data-offer]');
      if (offered) {  // a kind that was named before: with it, defective
        element.querySelector('[data-kind]').value = offered.dataset.offer;
        return element.querySelector('[data-answer$=" defective"]').click();
      }
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
  // Two <input type=date data-date=NAME>, each with an <input type=time data-time=NAME>, inside a gr.HTML become the event
  // `name`: the moments, in UTC. Without a time they are those at which the days begin (since) and are over (until) where
  // the browser is.
  const dates = (element, trigger, name) => {
    let told = '', waiting;
    const moment = (input) => {
      const time = element.querySelector(`[data-time=${input.dataset.date}]`);
      if (input.validity.badInput || time.validity.badInput || (time.value && !input.value)) return 'incomplete';
      if (!input.value) return '';
      const at = new Date(`${input.value}T${time.value || '00:00'}`);
      if (input.dataset.date === 'until' && !time.value) at.setDate(at.getDate() + 1);
      return at.toISOString();
    };
    const tell = () => {
      clearTimeout(waiting);
      const said = Object.fromEntries([...element.querySelectorAll('[data-date]')].map((one) => [one.dataset.date, moment(one)]));
      if (JSON.stringify(said) === told) return;
      told = JSON.stringify(said);
      trigger(name, said);
    };
    // A year that is being typed is a date at each digit.
    element.addEventListener('change', () => { clearTimeout(waiting); waiting = setTimeout(tell, 800); });
    element.addEventListener('focusout', (event) => { if (!element.contains(event.relatedTarget)) tell(); });
    element.addEventListener('keydown', (event) => { if (event.key === 'Enter') tell(); });
  };
  // What this tab showed before it was loaded anew belongs to it still. A tab's own memory outlives a reload.
  const KEPT = 'defectflow-tab';
  let was = null;
  try {
    const [how] = performance.getEntriesByType('navigation');
    if (/reload|back_forward/.test(how?.type)) was = sessionStorage.getItem(KEPT);
  } catch { /* private window */ }
  const reloaded = (trigger, name) => { if (was) { trigger(name, {was}); was = null; } };
  new MutationObserver(() => {
    const tab = document.querySelector('[data-tab]')?.dataset.tab;
    try { if (tab) sessionStorage.setItem(KEPT, tab); } catch { /* private window */ }
  }).observe(document.documentElement, {childList: true, subtree: true, attributeFilter: ['data-tab']});
  // What is drawn on a picture becomes the event `name`: the tool, and its points as shares of width and height.
  // Rectangle and brush are dragged; an outline's corners are clicked, and a double click or Enter ends it.
  const region = (element, trigger, name) => {
    let points = null, dragging = false;
    const tool = () => element.querySelector('[data-tool][aria-checked="true"]')?.dataset.tool;
    const isOutline = () => ['outline', 'ignore'].includes(tool());
    const brush = () => Number(element.querySelector('[data-brush]').value);
    const place = (event) => {
      const box = element.querySelector('.region img').getBoundingClientRect();
      const within = (value) => Math.min(1, Math.max(0, value));
      return [within((event.clientX - box.left) / box.width), within((event.clientY - box.top) / box.height)];
    };
    const show = (shown) => {
      const drawing = element.querySelector('.drawing');
      if (!drawing) return;
      const {width, height} = drawing.ownerSVGElement.viewBox.baseVal;
      drawing.setAttribute('points', shown.map(([x, y]) => `${x * width},${y * height}`).join(' '));
      drawing.style.strokeWidth = tool() === 'brush' ? `${brush() * drawing.ownerSVGElement.clientWidth}px` : '';
    };
    const corners = ([[a, b], [c, d]]) => [[Math.min(a, c), Math.min(b, d)], [Math.max(a, c), Math.max(b, d)]];
    const around = (pair) => { const [[a, b], [c, d]] = corners(pair); return [[a, b], [c, b], [c, d], [a, d], [a, b]]; };
    const end = () => {
      const drawn = points ?? [];
      points = null;
      dragging = false;
      show([]);
      if (drawn.length < (isOutline() ? 3 : 1)) return;
      const sent = tool() === 'rectangle' ? corners([drawn[0], drawn.at(-1)]) : drawn;
      trigger(name, {tool: tool(), width: brush(), points: sent.flat().map((one) => one.toFixed(4)).join(' ')});
    };
    element.addEventListener('pointerdown', (event) => {
      if (!event.target.closest('.region') || event.button) return;
      event.preventDefault();
      if (isOutline()) {
        const at = place(event), last = points?.at(-1);
        if (last && Math.hypot(at[0] - last[0], at[1] - last[1]) < 0.005) return end();
        points = [...(points ?? []), at];
      } else {
        points = [place(event)];
        dragging = true;
      }
    });
    document.addEventListener('pointermove', (event) => {
      if (!points) return;
      if (dragging) points.push(place(event));
      show(tool() === 'rectangle' ? around([points[0], points.at(-1)]) : dragging ? points : [...points, place(event)]);
    });
    document.addEventListener('pointerup', () => { if (dragging) end(); });
    document.addEventListener('keydown', (event) => {
      if (!points) return;
      if (event.key === 'Enter') { event.preventDefault(); end(); }
      if (event.key === 'Escape') { points = null; dragging = false; show([]); }
    });
    element.addEventListener('click', (event) => {
      const chosen = event.target.closest('[data-tool]');
      if (chosen) {
        points = null;
        show([]);
        element.querySelectorAll('[data-tool]').forEach((one) => one.setAttribute('aria-checked', String(one === chosen)));
      }
      if (event.target.closest('[data-clear]')) trigger(name, {tool: 'clear'});
    });
  };
  window.station = {region, reloaded, dropZone, clicks, answers, dates, nameOf};
})();
