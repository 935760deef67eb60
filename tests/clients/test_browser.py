"""A real browser and a page of another origin: uploads by addresses and forms, CORS, a picture, a video that one jumps about in."""
import os
import unittest

from harness import Case
from browser import Browser, Pages
from pictures import mp4, png

# PUT of a file by an address; what the page learns of the answer.
PUT = """
    const answer = await fetch($0, {method: 'PUT', body: new Uint8Array(300000).fill(7), headers: {'Content-Type': 'image/png'}});
    return [answer.status, answer.headers.get('ETag'), await answer.text()]"""
# As the page sees an answer that it must not see.
FAILS = "try { await fetch($0, $1); return 'answered' } catch (e) { return e.name }"
LOAD = """
    const element = document.createElement($0);
    if ($2) element.crossOrigin = 'anonymous';
    document.body.replaceChildren(element);
    const done = new Promise(resolve => {
      element.onload = element.onloadeddata = () => resolve('loaded');
      element.onerror = () => resolve('failed');
    });
    element.src = $1;
    const outcome = await done;
    return outcome == 'loaded' ? [element.naturalWidth || element.videoWidth, element.duration || 0] : outcome"""
# The colour in the middle of what was loaded. A picture that the page must not read throws here.
COLOUR = """
    const element = document.body.firstElementChild, canvas = document.createElement('canvas');
    canvas.width = canvas.height = 16;
    canvas.getContext('2d').drawImage(element, 0, 0, 16, 16);
    try { return [...canvas.getContext('2d').getImageData(8, 8, 1, 1).data].slice(0, 3) } catch (e) { return e.name }"""
SEEK = """
    const video = document.body.firstElementChild;
    const done = new Promise(resolve => { video.onseeked = () => requestAnimationFrame(resolve) });
    video.currentTime = $0;
    await done;
    return video.currentTime"""


class AcrossOrigins(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.addClassCleanup(cls.server.remove)  # also if there is no browser
        cls.pages_served = {"/": "<!doctype html><title>page</title><body></body>"}
        cls.pages = Pages(cls.pages_served)
        cls.addClassCleanup(cls.pages.stop)
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.stop)
        cls.s3 = cls.server.s3()
        cls.s3.create_bucket(Bucket="open")  # to pages of one origin
        cls.s3.create_bucket(Bucket="closed")
        cls.s3.put_bucket_cors(Bucket="open", CORSConfiguration={"CORSRules": [{
            "AllowedOrigins": [cls.pages.origin], "AllowedMethods": ["GET", "PUT", "POST"],
            "AllowedHeaders": ["content-type"], "ExposeHeaders": ["ETag"]}]})

    def setUp(self):
        self.browser.open(self.pages.origin + "/")

    def address(self, method, bucket, key, **params):
        return self.s3.generate_presigned_url(method, Params=dict(Bucket=bucket, Key=key, **params), ExpiresIn=600)

    def keys(self, bucket, prefix):
        return [o["Key"] for o in self.s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]

    def refusals(self):
        """Why the browser let the page not see answers, in its words."""
        return [e["corsErrorStatus"]["corsError"] for e in self.browser.told("Network.loadingFailed") if "corsErrorStatus" in e]

    def test_put_by_an_address(self):
        url = self.address("put_object", "open", "put/a.png", ContentType="image/png")
        status, etag, body = self.browser.run(PUT, url)
        head = self.s3.head_object(Bucket="open", Key="put/a.png")
        self.assertEqual((status, etag, body), (200, head["ETag"], ""))
        self.assertEqual((head["ContentLength"], head["ContentType"]), (300000, "image/png"))
        preflights = [e for e in self.browser.told("Network.responseReceived") if e["type"] == "Preflight"]
        self.assertEqual([e["response"]["status"] for e in preflights], [200])

    def test_a_page_reads_why_it_was_refused(self):
        url = self.address("put_object", "open", "put/b.png", ContentType="image/jpeg")
        status, _, body = self.browser.run(PUT, url)
        self.assertEqual(status, 403)
        self.assertIn("<Code>SignatureDoesNotMatch</Code>", body)

    def test_a_preflight_is_refused(self):
        there = {"method": "PUT", "body": "x", "headers": {"Content-Type": "image/png"}}
        for origin, bucket, request in ((self.pages.other_origin, "open", there), (self.pages.origin, "closed", there),
                                        (self.pages.origin, "open", {"method": "DELETE"}),
                                        (self.pages.origin, "open", dict(there, headers={"x-amz-meta-a": "b"}))):
            with self.subTest(origin=origin, bucket=bucket, request=request):
                self.browser.open(origin + "/")
                method = "delete_object" if request["method"] == "DELETE" else "put_object"
                self.assertEqual(self.browser.run(FAILS, self.address(method, bucket, "refused/a"), request), "TypeError")
                self.assertEqual(len(self.refusals()), 1)
                self.assertTrue(self.refusals()[0].startswith("Preflight"), self.refusals())
                self.assertEqual(self.keys(bucket, "refused/"), [])

    def test_an_answer_is_kept_from_another_page(self):
        self.s3.put_object(Bucket="open", Key="read.txt", Body=b"for one page")
        url = self.address("get_object", "open", "read.txt")
        self.browser.open(self.pages.other_origin + "/")
        self.assertEqual(self.browser.run(FAILS, url, {}), "TypeError")
        self.assertEqual(self.refusals(), ["MissingAllowOriginHeader"])
        # What the browser kept of that answer does not stand in the way of the page that may.
        self.browser.open(self.pages.origin + "/")
        self.assertEqual(self.browser.run("return await (await fetch($0)).text()", url), "for one page")

    def test_a_form(self):
        """As people send one: a file is chosen, the form sent, and the browser comes back to the page."""
        path = os.path.join(self.server.directory, "Grüße & Küsse.png")
        picture = png(200, 100, 10, 20, 30)
        with open(path, "wb") as f:
            f.write(picture)
        # The bucket knows no page: a form that leaves the page needs no CORS.
        back = self.pages.origin + "/thanks"
        form = self.s3.generate_presigned_post("closed", "form/${filename}", ExpiresIn=600, Fields={
            "success_action_redirect": back, "Content-Type": "image/png"}, Conditions=[
            {"success_action_redirect": back}, {"Content-Type": "image/png"}, ["content-length-range", 1, 1000000]])
        self.pages_served["/thanks"] = "<!doctype html>Thanks"
        fields = "".join('<input type=hidden name="%s" value="%s">' % f for f in form["fields"].items())
        self.pages_served["/form"] = ('<!doctype html><form action="%s" method=post enctype=multipart/form-data>%s'
                                      "<input type=file name=file><button>Send</button></form>" % (form["url"], fields))
        self.browser.open(self.pages.origin + "/form")
        self.browser.choose_file("input[type=file]", path)
        self.browser.events = []
        self.browser.evaluate("document.querySelector('button').click()")
        self.browser.wait_for("Page.loadEventFired")
        text, words = self.browser.run("return [document.body.innerText, [...new URL(location.href).searchParams]]")
        key = "form/Grüße & Küsse.png"
        head = self.s3.head_object(Bucket="closed", Key=key)
        self.assertEqual((text, words), ("Thanks", [["bucket", "closed"], ["key", key], ["etag", head["ETag"]]]))
        self.assertEqual(self.s3.get_object(Bucket="closed", Key=key)["Body"].read(), picture)

    def test_a_form_that_a_script_sends(self):
        form = self.s3.generate_presigned_post("open", "script/${filename}", ExpiresIn=600, Fields={
            "success_action_status": "201"}, Conditions=[{"success_action_status": "201"}, ["content-length-range", 1, 1000]])
        send = """
            const data = new FormData();
            for (const [name, value] of Object.entries($0.fields)) data.append(name, value);
            data.append('file', new Blob(['x'.repeat($1)]), 'note.txt');
            const answer = await fetch($0.url, {method: 'POST', body: data});
            const told = new DOMParser().parseFromString(await answer.text(), 'text/xml');
            return [answer.status, told.querySelector('Key, Code').textContent]"""
        self.assertEqual(self.browser.run(send, form, 1000), [201, "script/note.txt"])
        self.assertEqual(self.browser.run(send, form, 1001), [400, "EntityTooLarge"])
        self.assertEqual(self.s3.head_object(Bucket="open", Key="script/note.txt")["ContentLength"], 1000)

    def test_a_picture(self):
        def put(bucket, caching):
            self.s3.put_object(Bucket=bucket, Key="a.png", Body=png(40, 30, 200, 100, 50), ContentType="image/png",
                               CacheControl=caching)
            return self.address("get_object", bucket, "a.png")
        closed = put("closed", "max-age=3600")
        self.assertEqual(self.browser.run(LOAD, "img", closed, False), [40, 0])
        self.assertEqual(self.browser.run(COLOUR), "SecurityError")  # shown, and not to be read
        self.assertEqual(self.browser.run(LOAD, "img", closed, True), "failed")
        # Shown plainly first, and kept by the browser: then another element wants to read it.
        for caching in ("max-age=3600", "no-cache"):
            url = put("open", caching)
            self.assertEqual(self.browser.run(LOAD, "img", url, False), [40, 0])
            self.assertEqual(self.browser.run(LOAD, "img", url, True), [40, 0])
            self.assertEqual(self.browser.run(COLOUR), [200, 100, 50])

    def test_a_video(self):
        """Its index is at its end, and it is longer than what a player loads ahead: all of it works by ranges."""
        frames = 1200
        video = mp4(frames)
        self.s3.put_object(Bucket="open", Key="a.mp4", Body=video, ContentType="video/mp4")
        url = self.address("get_object", "open", "a.mp4")
        self.assertEqual(self.browser.run(LOAD, "video", url, True), [128, frames / 10])
        for second in (110.05, 3.05, 60.05):
            self.assertAlmostEqual(self.browser.run(SEEK, second), second)
            shade = self.browser.run(COLOUR)
            wanted = 255 * (int(second * 10)) / (frames - 1)
            self.assertLess(max(abs(c - wanted) for c in shade), 4, (second, shade, wanted))
        answers = [e["response"] for e in self.browser.told("Network.responseReceived") if e["response"]["url"] == url]
        self.assertEqual({a["status"] for a in answers}, {206})
        starts = [int(a["headers"]["Content-Range"].split()[1].split("-")[0]) for a in answers]
        self.assertEqual(starts[0], 0)
        self.assertTrue(any(s > len(video) * 0.85 for s in starts), starts)
        self.assertGreaterEqual(len(set(starts)), 3)


if __name__ == "__main__":
    unittest.main()
