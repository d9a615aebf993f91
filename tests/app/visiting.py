# SPDX-License-Identifier: Apache-2.0
"""A page in a real browser without a window."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

WAIT = 120_000  # ms; a busy machine takes long
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 375, "height": 812}


class Visit:
    """One open page, and all that it asked for."""

    def __init__(self, browser, address, **context):
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.requests, self.troubles = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("console", lambda line: self.troubles.append(line.text) if line.type == "error" else None)
        self.page.goto(address)
        self.page.wait_for_selector("[data-shown]", timeout=WAIT, state="attached")
        self.page.wait_for_selector(".verdict .bar", timeout=WAIT)

    def result(self):
        """The picture that the page shows, as its pixels."""
        source = self.page.locator("#viewer .after").get_attribute("src")
        response = self.page.request.get(
            self.page.evaluate("address => new URL(address, document.baseURI).href", source)
        )
        assert response.ok
        return np.asarray(Image.open(io.BytesIO(response.body())).convert("RGB"), dtype=np.float64)

    def after(self, action):
        """Do something, wait for the next picture, and return it."""
        shown = self.page.locator("[data-shown]").get_attribute("data-shown")
        action()
        self.page.wait_for_function(
            "shown => document.querySelector('[data-shown]').dataset.shown !== shown", arg=shown, timeout=WAIT
        )
        return self.result()

    def slide(self, name, value):
        """Move a slider and wait until the page shows the picture for it."""
        return self.after(lambda: self.page.locator(f"#{name} input[type=range]").fill(str(value)))

    def send(self, path):
        """Choose a file, as the visitor does."""
        self.page.locator("#photographs input[type=file]").set_input_files(path)

    def settle(self):
        """Wait until nothing new comes."""
        self.page.wait_for_timeout(1500)

    def shoot(self, name, part=None):
        """Keep a picture of the page or of a part of it, in 52 levels per channel, if anyone wants pictures."""
        folder = os.environ.get("FILTERLENS_SCREENSHOTS")
        if folder:
            target = self.page.locator(part) if part else self.page
            picture = Image.open(io.BytesIO(target.screenshot())).convert("RGB")
            picture.point(lambda value: 5 * round(value / 5)).save(Path(folder) / f"{name}.png", optimize=True)
