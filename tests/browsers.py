"""Chromium without a window, for the tests of pages."""

import importlib.util
import json
import os
import shutil

import pytest


def started(profile):
    """Return a browser whose profile is in a folder; skip the test where there is none."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (importlib.util.find_spec("selenium") and chromium and driver):
        missing = "needs selenium, chromium and chromedriver"
        if os.environ.get("NST_JAX_BROWSER") == "required":
            pytest.fail(missing)
        pytest.skip(missing)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync"),
        *("disable-background-networking", "disable-component-update", "disable-dev-shm-usage"),
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    found.get("about:blank")  # the browser's own first page asks for things
    return found


def resize(browser, width, height):
    """Give a browser's page a size."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def asked(browser):
    """Return the addresses that a browser has asked for since this was called last."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


def find(browser, selector):
    """Return the elements of a page that a selector fits."""
    return browser.find_elements("css selector", selector)
