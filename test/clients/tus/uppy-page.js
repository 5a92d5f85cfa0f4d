import Uppy from '@uppy/core';
import Tus from '@uppy/tus';

globalThis.uppyPage = { Uppy, Tus };
