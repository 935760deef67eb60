// XML as S3's bodies have it, in and out.
//
// In: well-formed UTF-8 without a document type, without entities but the five of XML itself; an
// element has text or elements, and its text is that of all its text and CDATA children, comments
// left out. What is none of that is refused rather than read halfway.
// Out: what is written can be read back by an XML 1.0 parser.
//
// Threads: any; a document belongs to one.
#pragma once

#include <optional>
#include <pugixml.hpp>
#include <string>
#include <string_view>

namespace cairn::s3 {

inline constexpr const char* kXmlHead = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

// Whether XML 1.0 can hold the text: valid UTF-8 of characters that it knows.
bool is_xml_text(std::string_view text);
// Whether add_as_it_came() can write the text: UTF-8 without NUL. Of that, S3 writes what XML 1.0
// cannot hold as references all the same, and clients take it back, or ask for URL-encoding.
bool can_be_written(std::string_view text);

class XmlIn {
 public:
  // False: not well-formed, or the root has another name. `text` may be empty: then so is the root.
  bool parse(const std::string& text, std::string_view root);
  pugi::xml_node root() const { return document_.document_element(); }

 private:
  pugi::xml_document document_;
};
// Nothing if the element has elements in it.
std::optional<std::string> text_of(const pugi::xml_node& element);
// Whether what is in the element is elements of these names alone, separated by blanks.
bool only_elements(const pugi::xml_node& element, std::string_view names);
// The one child of a name, or none; `twice` is set if there are more.
pugi::xml_node single(const pugi::xml_node& element, const char* name, bool& twice);

class XmlOut {
 public:
  explicit XmlOut(const char* root, bool with_namespace = true);
  pugi::xml_node root() { return document_.document_element(); }
  // Elements in the root behind all others, already as text: where there are thousands of a kind,
  // nodes cost more than all the rest.
  std::string& tail() { return tail_; }
  std::string text() const;  // kXmlHead first

 private:
  pugi::xml_document document_;
  std::string tail_;
};
// <name>text</name>, as add_as_it_came() has it.
void append_as_it_came(std::string& out, std::string_view name, std::string_view text);
// <name>text</name> in `parent`; what XML cannot hold becomes '?'.
pugi::xml_node add(pugi::xml_node parent, const char* name, std::string_view text);
pugi::xml_node add(pugi::xml_node parent, const char* name, uint64_t number);
inline pugi::xml_node add(pugi::xml_node parent, const char* name) {
  return parent.append_child(name);
}
// The same with control characters as references.
void add_as_it_came(pugi::xml_node parent, const char* name, const std::string& text);
// An ETag, in its quotes.
void add_etag(pugi::xml_node parent, std::string_view etag);

}  // namespace cairn::s3
